"""A study's progress bar in a terminal: trials, states, velocity, time left, best per arm. Elsewhere lines must do."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from cappuccino_ml.study import Progress as StudyProgress


class StudyBar:
    """Drawn below the lines of the run while a study has trials to run; nothing where output is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bar: Progress | None = None

    def __call__(self, progress: "StudyProgress") -> None:
        """Show `progress`; the bar leaves with the last trial."""
        if not self._console.is_terminal:
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("study"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
                console=self._console,
                auto_refresh=True,
                transient=True,
            )
            self._bar.start()
            self._bar.add_task("", total=progress.total)
        self._bar.update(
            self._bar.task_ids[0], completed=progress.done, description=progress.sentence.split(" trials, ", 1)[1]
        )
        self._bar.refresh()
        if progress.done == progress.total:
            self._bar.stop()
            self._bar = None
