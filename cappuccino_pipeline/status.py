"""`cappuccino status` and the asset `status`: where we stand, on one page, from files alone and without loading models.

The doctor asks "is anything broken", so it reads every byte; this page asks "where are we", so it reads pointers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cappuccino_ml.core import write_bytes
from cappuccino_ml.registry import CHALLENGER, CHAMPION
from cappuccino_ml.reports.blocks import Facts, Section, Text
from cappuccino_pipeline import facts
from cappuccino_pipeline.facts import Fact, safely
from cappuccino_pipeline.resources import Cappuccino

if TYPE_CHECKING:
    from rich.console import Group

    from cappuccino_pipeline.runs import Orchestration

FILE = "status.html"
_GOOD_ENOUGH = ("good", "plain", "quiet")


def standing(cappuccino: Cappuccino) -> list[Fact]:
    """Every fact, in the order of the data's way. Nothing here raises because something was never run or is broken."""
    known = [
        safely("data", lambda: facts.fresh_until(cappuccino)),
        safely("encoder", lambda: facts.encoder(cappuccino)),
        safely("last study", lambda: facts.study(cappuccino)),
        safely("verdict", lambda: facts.verdict(cappuccino)),
        safely(CHAMPION, lambda: facts.alias(cappuccino, CHAMPION)),
        safely(CHALLENGER, lambda: facts.alias(cappuccino, CHALLENGER)),
        safely("deployed", lambda: facts.deployment(cappuccino)),
        safely("paper session", lambda: facts.session(cappuccino)),
        safely("trader", lambda: facts.trader(cappuccino)),
        safely("alarms", lambda: facts.alarm_summary(facts.alarms(cappuccino))),
    ]
    return known + run_facts(cappuccino)


def run_facts(cappuccino: Cappuccino) -> list[Fact]:
    """Runs and schedules: what Dagster knows."""
    from cappuccino_pipeline.runs import orchestration  # noqa: PLC0415 - Dagster takes a second

    now = cappuccino.clock.now()
    found = orchestration(cappuccino.configuration.dagster_home, now=now)
    last = Fact("last run", facts.NONE_YET, "quiet")
    if found.last is not None:
        words = f"{found.last.job} {found.last.status}, begun {facts.minute(found.last.begun)}"
        last = Fact("last run", words, "bad" if found.last.failed else "plain")
    return [last, _under_way(found, cappuccino), next_runs(found)]


def _under_way(found: "Orchestration", cappuccino: Cappuccino) -> Fact:
    if not found.under_way:
        return Fact("running", "nothing", "quiet")
    now = cappuccino.clock.now()
    runs = [
        f"{run.job}{f' at {run.step}' if run.step else ''}, for {facts.age(now - run.begun)}" for run in found.under_way
    ]
    return Fact("running", "; ".join(runs), "good")


def next_runs(found: "Orchestration") -> Fact:
    """When each schedule ticks next, if anything ticks at all."""
    ticks = [f"{tick.schedule} {facts.minute(tick.next) if tick.on else 'is switched off'}" for tick in found.ticks]
    words = ", ".join(ticks)
    if any(tick.on for tick in found.ticks) and not found.daemon:
        return Fact("next runs", f"{words}; but nothing ticks: start `make ui`", "warning")
    return Fact("next runs", words, "plain" if any(tick.on for tick in found.ticks) else "quiet")


def terminal(cappuccino: Cappuccino, known: Sequence[Fact]) -> "Group":
    """The page for a terminal of any width."""
    from cappuccino_ml.reports.screen import screen  # noqa: PLC0415 - rich

    sections = [Section(fact.name, [Text(fact.words, fact.tone)]) for fact in known]
    return screen(heading(cappuccino, "status"), sections)


def page(cappuccino: Cappuccino, known: Sequence[Fact], path: Path) -> Path:
    """The same facts as one HTML file that needs nothing else.

    Raises:
        LakeError: the file cannot be written.
    """
    from cappuccino_ml.reports.html import document  # noqa: PLC0415

    troubles = [Text(f"{fact.name}: {fact.words}", fact.tone) for fact in known if fact.tone not in _GOOD_ENOUGH]
    text = document(
        title="Where we stand",
        subtitle=heading(cappuccino, "status"),
        lead=troubles or [Text("Nothing asks for attention.", "good")],
        tiles=[],
        sections=[Section("All facts", [Facts([(fact.name, fact.words) for fact in known])])],
    )
    write_bytes(path, text.encode())
    return path


def heading(cappuccino: Cappuccino, what: str) -> str:
    """Market and moment: every page is of one market at one time."""
    configuration = cappuccino.configuration
    return f"{what}: {configuration.market}, {facts.minute(cappuccino.clock.now())}, {configuration.state}"
