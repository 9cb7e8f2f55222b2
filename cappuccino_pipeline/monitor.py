"""`cappuccino monitor`: study, processes, machine, trader and alarms, live in a terminal or as a page left open."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cappuccino_ml.core import write_bytes
from cappuccino_ml.reports.blocks import Block, Facts, Section, Table, Text, Tone
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
_MIN_ROWS, _FEW_ROWS, _MAX_ROWS = 1, 5, 12
_SILENT_STUDY_S = 600.0
_STUDY = "optuna_study"


class Monitor:
    """Gathers what is shown. Looking changes nothing, and works before anything was ever run."""

    def __init__(self, cappuccino: Cappuccino) -> None:
        self._cappuccino = cappuccino
        self._meter = Meter(cappuccino.configuration.state)
        self._watch = StudyWatch(cappuccino.configuration.studies_root, seed=cappuccino.configuration.seed)

    def sections(self) -> list[Section]:
        """Everything, what matters most first."""
        cappuccino, machine = self._cappuccino, self._meter.look()
        raised = self._alarms()
        last, running, next_runs = run_facts(cappuccino)
        return [
            Section("alarms", [_text(facts.alarm_summary(raised)), *_older(raised[1:_MAX_ROWS])]),
            Section("running", [_text(running if running.tone == "good" else _before(running, last))]),
            Section("study", self._study()),
            Section("workers", [_workers(machine.workers, now=cappuccino.clock.now())]),
            Section("machine", [Text(line, tone) for line, tone in _machine_lines(machine)]),
            Section("trader", [_text(safely("trader", lambda: facts.trader(cappuccino)))]),
            Section("deployed", [_text(safely("deployed", lambda: facts.deployment(cappuccino)))]),
            Section("bars", [_text(safely("bars", lambda: facts.fresh_until(cappuccino)))]),
            Section("next runs", [_text(next_runs)]),
        ]

    def screen(self, console: "Console", *, whole: bool) -> "Group":
        """For a terminal: `whole`, or cut until it fits, first the tables, then the sentences, each to one line."""
        from cappuccino_ml.reports.screen import screen  # noqa: PLC0415 - rich

        title, sections = heading(self._cappuccino, "monitor"), self.sections()
        if whole:
            return screen(title, sections)
        for one_line, least in ((False, _FEW_ROWS), (True, _MIN_ROWS)):
            for rows in range(_MAX_ROWS, least - 1, -1):
                shown = screen(title, [_cut(section, rows) for section in sections], one_line=one_line)
                if len(console.render_lines(shown)) <= console.height:
                    return shown
        return shown

    def page(self, path: Path, *, refresh_s: int) -> Path:
        """The same facts as an HTML file that a browser reads again every `refresh_s` seconds.

        Raises:
            LakeError: the file cannot be written.
        """
        from cappuccino_ml.reports.html import document  # noqa: PLC0415

        alarm, *others = self.sections()
        lines = {one.title: [block.words for block in one.blocks if isinstance(block, Text)] for one in others}
        tables = [Section(one.title, [b for b in one.blocks if isinstance(b, Table)]) for one in others]
        text = document(
            title="Cappuccino monitor",
            subtitle=heading(self._cappuccino, "monitor"),
            lead=[Text(f"alarms: {one.words}", one.tone) for one in alarm.blocks if isinstance(one, Text)],
            tiles=[],
            sections=[
                Section("now", [Facts([(name, "; ".join(words)) for name, words in lines.items() if words])]),
                *(one for one in tables if one.blocks),
            ],
            refresh_s=refresh_s,
        )
        write_bytes(path, text.encode())
        return path

    def _alarms(self) -> list[Fact]:
        try:
            return facts.alarms(self._cappuccino)
        except (facts.CappuccinoError, KeyError, ValueError) as error:
            return [Fact("alarms", f"PROBLEM: they cannot be read ({error})", "bad")]

    def _study(self) -> list[Block]:
        """The study under way, or else the last one of this market that was finished."""
        cappuccino, so_far = self._cappuccino, self._watch.look()
        finished: Path | None = None
        with suppress(facts.CappuccinoError):  # its folder is gone, and the fact below says so
            finished = cappuccino.current.folder(_STUDY) if cappuccino.current.has(_STUDY) else None
        if so_far is not None and (finished is None or so_far.last_sign > facts.done_at(finished)):
            return [*_progress(so_far, now=cappuccino.clock.now()), *_tables(so_far)]
        last = _text(safely("last study", lambda: _finished(facts.study(cappuccino))))
        if finished is None:
            return [last]
        found = self._watch.read(finished)
        left = f"; {so_far.key} was begun before it and left unfinished" if so_far else ""
        return [last, Text(f"{_pace(found)}{left}"), *_tables(found)]


def _before(nothing: Fact, last: Fact) -> Fact:
    return Fact(nothing.name, f"{nothing.words}; the last run: {last.words}", last.tone)


def _finished(study: Fact) -> Fact:
    return Fact(study.name, f"none is running; the last one: {study.words}", study.tone)


def _text(fact: Fact) -> Text:
    return Text(fact.words, fact.tone)


def _older(raised: list[Fact]) -> list[Text]:
    return [Text(f"{one.name}: {one.words}", one.tone) for one in raised]


def _cut(section: Section, rows: int) -> Section:
    """Tables with at most so many rows, the last of which then counts the others."""

    def cut(block: Block) -> Block:
        if not isinstance(block, Table) or len(block.rows) <= rows:
            return block
        more = [f"{len(block.rows) - rows + 1} more", *[""] * (len(block.header) - 1)]
        return replace(block, rows=[*block.rows[: rows - 1], more])

    return Section(section.title, [cut(block) for block in section.blocks])


def _progress(study: StudySoFar, *, now: datetime) -> list[Block]:
    """How far an unfinished study is."""
    said, blocks = study.said, list[Block]()
    silent = (now - study.last_sign).total_seconds()
    if said:
        done = said["completed"] + said["pruned"] + said["failed"]
        since = max(0.0, (now - study.said_at).total_seconds())
        left = said.get("seconds_left")
        filled = round(_BAR * done / max(1, said["total"]))
        bar = "#" * filled + "." * (_BAR - filled)
        counts = f"{done} of {said['total']} trials, {said['pruned']} pruned, {said['failed']} failed"
        until = f", about {facts.age_of_seconds(left - since)} left" if left else ""
        blocks.append(Text(f"{study.key} [{bar}] {counts}{until}", "bad" if said["failed"] else "plain"))
    finished = f"{len(study.folds)} folds finished" if study.folds else "no fold is finished yet"
    words = f"{finished}, {_pace(study)}; last sign of life {facts.age_of_seconds(silent)} ago"
    blocks.append(Text(words if said else f"{study.key}: {words}", "warning" if silent > _SILENT_STUDY_S else "plain"))
    return blocks


def _pace(study: StudySoFar) -> str:
    trials, steps, workers = study.trials_per_hour, study.steps_per_second, study.said.get("workers")
    parts = [
        f"{trials:.1f} trials an hour" if trials is not None else "",
        f"{steps:,.0f} steps a second" if steps is not None else "",
        f"{workers} worker{'s' * (workers > 1)}" if workers else "",
    ]
    return ", ".join(part for part in parts if part) or "no pace is known"


def _tables(study: StudySoFar) -> list[Block]:
    """The best trials, and the arms side by side."""
    if not study.trials:
        return []
    trials = [
        [
            "-" if trial.number is None else f"#{trial.number}",
            trial.arm,
            trial.state,
            " ".join(f"{sharpe:+.2f}" for sharpe in trial.sharpes) or "-",
            f"{trial.steps:,}",
            "-" if trial.fold_seconds is None else f"{trial.fold_seconds:,.0f}",
        ]
        for trial in study.trials
    ]
    arms = [
        [arm.arm, str(arm.folds), f"{arm.mean:+.2f}", f"{arm.best:+.2f}", _best(study.said, arm.arm)]
        for arm in study.arms
    ]
    return [
        Table(
            ["trial", "arm", "state", "net Sharpe, folds", "steps", "s/fold"],
            trials,
            left=frozenset({0, 1, 2}),
            caption="The best first. open: its generation has not ended, it may go on or be pruned. steps: of the "
            "environment. s/fold: seconds between the ends of its folds, pauses included.",
        ),
        Table(["arm", "folds", "mean Sharpe", "best fold", "best trial"], arms),
    ]


def _best(said: dict[str, dict[str, dict[str, float]]], arm: str) -> str:
    best = said.get("best", {}).get(arm)
    return f"{best['value']:+.2f} (#{best['number']})" if best else "-"


def _workers(workers: tuple[Worker, ...], *, now: datetime) -> Block:
    if not workers:
        return Text("no process works on this state folder", "quiet")
    table = [
        [one.what, str(one.pid), f"{one.cpu_percent:.0f} %", f"{one.memory / 1e6:,.0f} MB", facts.age(now - one.since)]
        for one in workers
    ]
    return Table(["process", "pid", "core", "memory", "for"], table)


def _machine_lines(machine: Machine) -> list[tuple[str, Tone]]:
    used = machine.memory_used / machine.memory_total
    memory = f"memory {machine.memory_used / 1e9:.1f} of {machine.memory_total / 1e9:.1f} GB"
    cpu = f"CPU {machine.cpu_percent:.0f} % of {machine.cores} cores, load {machine.load:.1f}"
    free = f"disk {machine.disk_free / 1e9:,.1f} GB free"
    tight = used > 0.9 or machine.disk_free < 2e9
    none = "" if machine.gpus else "; no GPU"
    lines: list[tuple[str, Tone]] = [(f"{cpu}; {memory}; {free}{none}", "warning" if tight else "plain")]
    return lines + [(f"GPU {gpu}", "plain") for gpu in machine.gpus]


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
        console.print(monitor.screen(console, whole=True))
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
            live.update(monitor.screen(console, whole=False), refresh=True)
            sleep(every_s)
