"""How far a stage is: a line that counts gets the time left, and a terminal shows a bar below the lines."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cappuccino_ml.reports.words import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_COUNTS = re.compile(r"(?P<what>[a-z][a-z -]*) (?P<done>\d+)/(?P<total>\d+)\b")


@dataclass(frozen=True)
class Step:
    """A stage at one moment."""

    what: str
    done: int = 0
    total: int | None = None  # None: it cannot be counted
    words: str = ""  # beside the bar


class Countdown:
    """Reads lines such as `cross-validation 3/60  ft, seed 0, split 1`, which every stage of many jobs says.

    What was found finished says so in no time, so the time left is an estimate from this session's pace.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._what, self._began, self._before, self._heard = "", 0.0, 0, now()

    def __call__(self, line: str) -> Step | None:
        """The step that `line` tells of; None if it does not count."""
        now, found = self._now(), _COUNTS.match(line)
        if found is not None and (found["what"] != self._what or int(found["done"]) <= self._before):
            self._what, self._began, self._before = found["what"], self._heard, int(found["done"]) - 1
        self._heard = now
        if found is None:
            return None
        done, total = int(found["done"]), int(found["total"])
        left = (now - self._began) / (done - self._before) * (total - done)
        return Step(found["what"], done, total, f"about {duration(left)} left" if done < total else "")


class StageBar:
    """Drawn while a stage is at work, with the time since it began; nothing where output is no terminal."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console  # noqa: PLC0415 - a tenth of a second

        self._console = console or Console()
        self._bar: Progress | None = None
        self._what = ""

    def __call__(self, step: Step | None) -> None:
        """Show `step` in the place of another stage's bar; the bar leaves with the last one, or with None."""
        if self._bar is not None and (step is None or step.what != self._what):
            self._bar.stop()
            self._bar = None
        if step is None or not self._console.is_terminal:
            return
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - as above

            self._bar = Progress(
                TextColumn("{task.fields[what]}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._bar.add_task("", total=step.total, what=step.what, count="")
            self._what = step.what
        count = "" if step.total is None else f"{step.done}/{step.total}"
        self._bar.update(self._bar.task_ids[0], completed=step.done, description=step.words, count=count)
        self._bar.refresh()
        if step.done == step.total:
            self(None)
