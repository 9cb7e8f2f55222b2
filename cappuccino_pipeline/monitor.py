"""`cappuccino monitor`: study, processes, machine, trader and alarms, live in a terminal or as a page left open."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cappuccino_ml.core import write_bytes
from cappuccino_ml.reports.blocks import Block, Section, Table, Text, Tone
from cappuccino_pipeline import facts
from cappuccino_pipeline.facts import Fact, safely
from cappuccino_pipeline.machine import Machine, Meter, Worker
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.status import heading, run_facts
from cappuccino_pipeline.study_watch import StudySoFar, StudyWatch

if TYPE_CHECKING:
    from rich.console import Console, Group

_FIRST_LOOK_S = 0.3  # between two looks, without which nobody's share of the processor is known
_BAR = 24  # characters of a progress bar
_MIN_ROWS, _MAX_ROWS = 2, 12
_LINES_BESIDE_TABLES = 19  # lines of the screen that are not rows of a table
_TABLES = 3
_SILENT_STUDY_S = 600.0


class Monitor:
    """Gathers what is shown. Looking changes nothing, and works before anything was ever run."""

    def __init__(self, cappuccino: Cappuccino) -> None:
        self._cappuccino = cappuccino
        self._meter = Meter(cappuccino.configuration.state)
        self._watch = StudyWatch(cappuccino.configuration.studies_root)

    def sections(self, *, rows: int = _MAX_ROWS) -> list[Section]:
        """Everything, what matters most first.

        Args:
            rows: the most rows of a table.
        """
        cappuccino, machine = self._cappuccino, self._meter.look()
        raised = self._alarms()
        last, running, next_runs = run_facts(cappuccino)
        return [
            Section("alarms", [_text(facts.alarm_summary(raised)), *_older(raised[1:rows])]),
            Section("running", [_text(running if running.tone == "good" else _before(running, last))]),
            Section("study", self._study(rows)),
            Section("workers", [_workers(machine.workers, rows, now=cappuccino.clock.now())]),
            Section("machine", [Text(line, tone) for line, tone in _machine_lines(machine)]),
            Section("trader", [_text(safely("trader", lambda: facts.trader(cappuccino)))]),
            Section("deployed", [_text(safely("deployed", lambda: facts.deployment(cappuccino)))]),
            Section("bars", [_text(safely("bars", lambda: facts.fresh_until(cappuccino)))]),
            Section("next runs", [_text(next_runs)]),
        ]

    def screen(self, *, height: int | None) -> "Group":
        """For a terminal of `height` lines; without one nothing is left out."""
        from cappuccino_ml.reports.screen import screen  # noqa: PLC0415 - rich

        fitting = _MAX_ROWS if height is None else (height - _LINES_BESIDE_TABLES) // _TABLES
        sections = self.sections(rows=min(_MAX_ROWS, max(_MIN_ROWS, fitting)))
        return screen(heading(self._cappuccino, "monitor"), sections)

    def page(self, path: Path, *, refresh_s: int) -> Path:
        """The same facts as an HTML file that a browser reads again every `refresh_s` seconds.

        Raises:
            LakeError: the file cannot be written.
        """
        from cappuccino_ml.reports.html import document  # noqa: PLC0415

        alarm, *others = self.sections()
        text = document(
            title="Cappuccino monitor",
            subtitle=heading(self._cappuccino, "monitor"),
            lead=[block for block in alarm.blocks if isinstance(block, Text)],
            tiles=[],
            sections=others,
            refresh_s=refresh_s,
        )
        write_bytes(path, text.encode())
        return path

    def _alarms(self) -> list[Fact]:
        try:
            return facts.alarms(self._cappuccino)
        except (facts.CappuccinoError, KeyError, ValueError) as error:
            return [Fact("alarms", f"PROBLEM: they cannot be read ({error})", "bad")]

    def _study(self, rows: int) -> list[Block]:
        so_far = self._watch.look()
        if so_far is None:
            return [_text(safely("last study", lambda: _finished(facts.study(self._cappuccino))))]
        return _study_blocks(so_far, rows, now=self._cappuccino.clock.now())


def _before(nothing: Fact, last: Fact) -> Fact:
    return Fact(nothing.name, f"{nothing.words}; the last run: {last.words}", last.tone)


def _finished(study: Fact) -> Fact:
    return Fact(study.name, f"none is running; the last one: {study.words}", study.tone)


def _text(fact: Fact) -> Text:
    return Text(fact.words, fact.tone)


def _older(raised: list[Fact]) -> list[Text]:
    return [Text(f"{one.name}: {one.words}", one.tone) for one in raised]


def _study_blocks(study: StudySoFar, rows: int, *, now: datetime) -> list[Block]:
    """Progress, arms and the best folds of an unfinished study."""
    said = study.said
    speed = study.folds_per_minute
    pace = f"{speed:.1f} folds a minute" if speed is not None else "no pace yet"
    silent = (now - study.last_sign).total_seconds()
    blocks: list[Block] = []
    if said:
        done = said["completed"] + said["pruned"] + said["failed"]
        left = f", about {facts.age_of_seconds(said['seconds_left'])} left" if said.get("seconds_left") else ""
        filled = round(_BAR * done / max(1, said["total"]))
        bar = "#" * filled + "." * (_BAR - filled)
        counts = f"{done} of {said['total']} trials, {said['pruned']} pruned, {said['failed']} failed"
        blocks.append(Text(f"{study.key} [{bar}] {counts}{left}", "bad" if said["failed"] else "plain"))
    finished = f"{len(study.folds)} folds finished, {pace}" if study.folds else "no fold is finished yet"
    folds = f"{finished}; last sign of life {facts.age_of_seconds(silent)} ago"
    tone: Tone = "warning" if silent > _SILENT_STUDY_S else "plain"
    blocks.append(Text(folds if said else f"{study.key}: {folds}", tone))
    arms = [
        [arm.arm, str(arm.folds), f"{arm.mean:+.2f}", f"{arm.best:+.2f}", _best(said, arm.arm)] for arm in study.arms
    ]
    if arms:
        blocks.append(Table(["arm", "folds", "mean Sharpe", "best fold", "best trial"], arms))
        newest = [
            [f"{fold.ended:%H:%M:%S}", fold.arm, f"{fold.sharpe:+.2f}", f"{fold.turnover_per_day:.2f}"]
            for fold in study.folds[:rows]
        ]
        blocks.append(Table(["finished (UTC)", "arm", "net Sharpe", "turnover/day"], newest, left=frozenset({0, 1})))
    return blocks


def _best(said: dict[str, dict[str, dict[str, float]]], arm: str) -> str:
    best = said.get("best", {}).get(arm)
    return f"{best['value']:+.2f} (#{best['number']})" if best else "-"


def _workers(workers: tuple[Worker, ...], rows: int, *, now: datetime) -> Block:
    if not workers:
        return Text("no process works on this state folder", "quiet")
    table = [
        [one.what, str(one.pid), f"{one.cpu_percent:.0f} %", f"{one.memory / 1e6:,.0f} MB", facts.age(now - one.since)]
        for one in workers[:rows]
    ]
    if len(workers) > rows:
        rest = workers[rows:]
        used, memory = sum(one.cpu_percent for one in rest), sum(one.memory for one in rest) / 1e6
        table.append([f"{len(rest)} more", "", f"{used:.0f} %", f"{memory:,.0f} MB", ""])
    return Table(["process", "pid", "core", "memory", "for"], table)


def _machine_lines(machine: Machine) -> list[tuple[str, Tone]]:
    used = machine.memory_used / machine.memory_total
    memory = f"memory {machine.memory_used / 1e9:.1f} of {machine.memory_total / 1e9:.1f} GB"
    cpu = f"CPU {machine.cpu_percent:.0f} % of {machine.cores} cores, load {machine.load:.1f}"
    free = f"disk {machine.disk_free / 1e9:,.1f} GB free"
    tight = used > 0.9 or machine.disk_free < 2e9
    lines: list[tuple[str, Tone]] = [(f"{cpu}; {memory}; {free}", "warning" if tight else "plain")]
    return lines + [(f"GPU {gpu}", "plain") for gpu in machine.gpus or ("none (no nvidia-smi)",)]


def watch(
    monitor: Monitor,
    console: "Console",
    *,
    once: bool,
    every_s: float,
    page: Path | None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show it once, or again and again until Ctrl-C; with `page` the file is written instead of the screen."""
    monitor.sections()
    sleep(_FIRST_LOOK_S)
    if page is not None:
        _keep_page(monitor, console, page, once=once, every_s=every_s, sleep=sleep)
    elif once:
        console.print(monitor.screen(height=None))
    else:
        _keep_screen(monitor, console, every_s=every_s, sleep=sleep)


def _keep_page(
    monitor: Monitor, console: "Console", page: Path, *, once: bool, every_s: float, sleep: Callable[[float], None]
) -> None:
    monitor.page(page, refresh_s=max(1, round(every_s)))
    console.print(f"{page.absolute().as_uri()}", soft_wrap=True)
    while not once:
        sleep(every_s)
        monitor.page(page, refresh_s=max(1, round(every_s)))


def _keep_screen(monitor: Monitor, console: "Console", *, every_s: float, sleep: Callable[[float], None]) -> None:
    from rich.live import Live  # noqa: PLC0415 - rich

    with Live(console=console, screen=console.is_terminal, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(monitor.screen(height=console.height), refresh=True)
            sleep(every_s)
