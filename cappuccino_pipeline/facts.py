"""What is known of each stage, read from files alone; doctor, `status`, its asset and `monitor` show these facts."""

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cappuccino_ml.core import CappuccinoError, read_json
from cappuccino_ml.registry import CHALLENGER, CHAMPION, read_aliases
from cappuccino_ml.reports.blocks import Tone
from cappuccino_pipeline.machine import lives
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.table_facts import table_facts

NONE_YET = "none yet"
REPLAYED = "files have no new bar at each close: materialize paper_trading_report for a session on the stored ones"
LEDGER = "ledger.sqlite"
REFUSED = "refused.json"
_LATE_BARS = 3  # closed bars behind now from which the bars count as late; an hourly update leaves one or two
_SILENT_AFTER = timedelta(minutes=5)  # a trader that works says so more often
_RECENT = timedelta(days=2)  # alarms older than this are history
_LEDGERS = 3  # newest ones looked into for alarms: a trader's by broker, and the last session's
_TONES: dict[str, Tone] = {"win": "good", "reject": "bad", "go": "good", "no-go": "bad"}


@dataclass(frozen=True)
class Fact:
    """One line: its name, what is so, and how it should strike a person."""

    name: str
    words: str
    tone: Tone = "plain"


def safely(name: str, fact: Callable[[], Fact]) -> Fact:
    """The fact, or the sentence that says why it cannot be told: one broken file must not hide all the others."""
    try:
        return fact()
    except CappuccinoError as error:
        return Fact(name, f"PROBLEM: {error}", "bad")
    except (KeyError, TypeError, ValueError) as error:
        return Fact(name, f"PROBLEM: a file of it is not as this version writes it ({error!r})", "bad")


def minute(moment: datetime) -> str:
    """`2025-01-31 13:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def age(span: timedelta) -> str:
    """`12 s`, `5 min`, `3 h`, `4 days`."""
    return age_of_seconds(span.total_seconds())


def age_of_seconds(seconds: float) -> str:
    """As `age`."""
    seconds = max(0, int(seconds))
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def fresh_until(cappuccino: Cappuccino) -> Fact:
    """How far the stored bars and features reach, and whether newer bars should be there by now."""
    bars, universe, now = table_facts(cappuccino.bars), cappuccino.configuration.universe, cappuccino.clock.now()
    if bars.last is None:
        words = f"{NONE_YET}; materialize ohlcv_bars, or run `make demo`"
        if others := _other_markets(cappuccino):
            words += f"; there is something of {', '.join(others)}: set the CAPPUCCINO_ variables it was made with"
        return Fact("data", words, "quiet")
    closed = bars.last + universe.bar
    features = table_facts(cappuccino.features)
    missing = "" if features.last == bars.last else f"; features until {features.last or 'never'}, re-run indicators"
    end = cappuccino.coverage[1]
    behind = (min(now, end) if end else now) - closed
    words = f"{cappuccino.source.label} bars closed until {minute(closed)}, {bars.months} months, {bars.rows:,} rows"
    if end is not None and closed >= end:
        words += "; the source ends there"
    elif behind >= _LATE_BARS * universe.bar:
        words += f"; {behind // universe.bar:,} closed bars behind {'the source' if end else 'now'}"
        return Fact("data", words + missing, "warning")
    return Fact("data", words + missing, "warning" if missing else "plain")


def _other_markets(cappuccino: Cappuccino) -> list[str]:
    """Markets of this state folder that the variables of this shell do not ask for: a new shell has forgotten them."""
    known = {folder.name for folder in folders(cappuccino.configuration.state / "current")}
    return sorted(known - {cappuccino.configuration.market})


def encoder(cappuccino: Cappuccino) -> Fact:
    """How old the current pre-trained encoder is, and its skill beside carrying the last bar forward."""
    folder = _current(cappuccino, "pretrained_encoder")
    if folder is None:
        return Fact("encoder", NONE_YET, "quiet")
    skill = read_json(folder / "config.json")["skill"]["r2"]
    others = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in skill.items() if name != "model")
    made = done_at(folder)
    words = f"{folder.name} of {minute(made)} ({age(cappuccino.clock.now() - made)} old)"
    return Fact("encoder", f"{words}, masked R2 {skill['model']:.3f} beside {others}")


def study(cappuccino: Cappuccino) -> Fact:
    """The last finished study and its best trial of each side."""
    folder = _current(cappuccino, "optuna_study")
    if folder is None:
        return Fact("last study", NONE_YET, "quiet")
    trials = read_json(folder / "study.json")["trials"]
    done = [trial for trial in trials if trial["value"] is not None]
    sides = {"FT": [t for t in done if t["arm"] != "mlp"], "MLP": [t for t in done if t["arm"] == "mlp"]}
    best = ", ".join(
        f"best {side} {max(trial['value'] for trial in pool):+.2f}" for side, pool in sides.items() if pool
    )
    states = [trial["state"] for trial in trials]
    failed = states.count("failed")
    pruned = f", {states.count('pruned')} pruned" if "pruned" in states else ""
    counts = f"{len(done)} trials complete{pruned}, {failed} failed"
    words = f"{folder.name} of {minute(done_at(folder))}, {counts}; net Sharpe {best or '-'}"
    return Fact("last study", words, "warning" if failed else "plain")


def verdict(cappuccino: Cappuccino) -> Fact:
    """What was decided about the best candidate, and the first reason."""
    folder = _current(cappuccino, "validation_report")
    if folder is None:
        return Fact("verdict", NONE_YET, "quiet")
    report = read_json(folder / "report.json")
    outcome, reasons = report["verdict"]["outcome"], report["verdict"]["reasons"]
    words = f"{outcome.upper()} for {report['candidate_arm']} (trial {report['candidate_trial']})"
    more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
    return Fact("verdict", words + (f": {reasons[0]}{more}" if reasons else ""), _TONES.get(outcome, "warning"))


def alias(cappuccino: Cappuccino, name: str) -> Fact:
    """Which version an alias names."""
    configuration = cappuccino.configuration
    found = read_aliases(configuration.mlflow_database, model_name=configuration.model_name).get(name)
    if found is None:
        return Fact(name, "none", "quiet")
    what = ", ".join(filter(None, (found.tags.get("arm"), found.tags.get("outcome"))))
    return Fact(name, f"version {found.version} ({what or 'not registered by the pipeline'})")


def deployment(cappuccino: Cappuccino) -> Fact:
    """What the trader was given, and whether that is still what the aliases name."""
    configuration = cappuccino.configuration
    aliases = read_aliases(configuration.mlflow_database, model_name=configuration.model_name)
    named = next((aliases[name].version for name in (CHALLENGER, CHAMPION) if name in aliases), None)
    record = configuration.deployment_record
    if not record.is_file():
        if named is None:
            return Fact("deployed", "nothing: no alias is set", "quiet")
        why = _refusal(record, named) or "materialize it, or see why"
        return Fact("deployed", f"NOTHING, though an alias names version {named}; {why}", "bad")
    made = read_json(record)
    since = minute(datetime.fromisoformat(made["when"]))
    words = f"version {made['version']} ({made['arm']}) as {made['alias']}, since {since}"
    if made["version"] != named:
        why = _refusal(record, named) or "see paper_trader_deployment"
        words += f"; BUT the aliases name {f'version {named}' if named else 'none'}: {why}"
        return Fact("deployed", words, "bad")
    return Fact("deployed", words, "good")


def _refusal(record: Path, named: str | None) -> str:
    """Why the version that the aliases name was not deployed, if it was refused."""
    refused = record.with_name(REFUSED)
    return str(read_json(refused)["reason"]) if refused.is_file() and read_json(refused)["version"] == named else ""


def session(cappuccino: Cappuccino) -> Fact:
    """The last paper session beside the backtest of the same bars."""
    folder = _current(cappuccino, "paper_trading_report")
    if folder is None:
        return Fact("paper session", NONE_YET, "quiet")
    report = read_json(folder / "paper.json")
    held, outcome = report["session"], str(report["decision"]["outcome"])
    facts = held["comparison"]
    equal = "equal" if facts["orders_equal"] else "NOT equal"
    words = (
        f"{held['label']} of version {held['model_version']}, {facts['bars']} bars to {held['last'].replace('T', ' ')}"
        f" UTC: {outcome.upper()}, {facts['fills']} fills, orders {equal} to the backtest's"
    )
    return Fact("paper session", words, _TONES.get(outcome, "warning"))


def trader(cappuccino: Cappuccino) -> Fact:
    """What the service that trades by the clock last said of itself in its health file, and whether it is there."""
    path, killed = cappuccino.configuration.health_file, cappuccino.configuration.kill_file.exists()
    if not path.is_file() and cappuccino.configuration.files_folder is not None:
        return Fact("trader", f"none; {REPLAYED}", "quiet")
    if not path.is_file():
        return Fact("trader", f"none has traded by the clock on the {cappuccino.configuration.broker} account", "quiet")
    said = read_json(path)  # as JSON: its class would import torch
    state, beat = str(said["state"]), datetime.fromisoformat(said["heartbeat"])
    silent = cappuccino.clock.now() - beat
    alive = lives(said["pid"], since=datetime.fromisoformat(said["started"]))
    words = [f"{state}{': ' + said['why'] if said.get('why') else ''}"]
    words += [f"process {said['pid']}"] if alive else []
    words += [f"version {said['model_version']}"] if said.get("model_version") else []
    words += [f"equity {said['equity']:,.2f}"] if said.get("equity") is not None else []
    words += [f"drawdown {said['drawdown']:.1%}"] if said.get("drawdown") is not None else []
    words += [f"decided {minute(datetime.fromisoformat(said['bar_decided']))}"] if said.get("bar_decided") else []
    words += ["the feed is STALE"] if said.get("feed_is_stale") else []
    words += ["the KILL file exists, so nothing is sent"] if killed else []
    if state == "STOPPED":
        return Fact("trader", ", ".join([*words, f"since {minute(beat)}"]), "quiet")
    if not alive:
        words += [f"but its process {said['pid']} is GONE, last heartbeat {age(silent)} ago"]
        return Fact("trader", ", ".join(words), "bad")
    if silent > _SILENT_AFTER:
        return Fact("trader", ", ".join([*words, f"but SILENT for {age(silent)}: it hangs"]), "bad")
    tone: Tone = "bad" if state in ("HALTED", "CRASHED") or said.get("feed_is_stale") else "good"
    tone = "warning" if tone == "good" and (killed or state in ("REDUCING", "WAITING", "STARTING")) else tone
    return Fact("trader", ", ".join([*words, f"heartbeat {age(silent)} ago"]), tone)


def alarms(cappuccino: Cappuccino) -> list[Fact]:
    """Failed runs and what this market's newest ledgers raised, newest first; those of two days stand out."""
    found = list(_alerts(cappuccino))
    found += list(_ledger_alarms(cappuccino))
    now = cappuccino.clock.now()
    return [
        Fact(minute(when), words, "bad" if now - when <= _RECENT else "quiet")
        for when, words in sorted(found, reverse=True)
    ]


def alarm_summary(raised: list[Fact]) -> Fact:
    """The alarms in one line."""
    recent = [one for one in raised if one.tone == "bad"]
    if not recent:
        old = f"; {len(raised)} older ones in alerts.jsonl and the ledger" if raised else ""
        return Fact("alarms", f"none in the last two days{old}", "good")
    more = f" (and {len(recent) - 1} more)" if len(recent) > 1 else ""
    return Fact("alarms", f"{recent[0].name}: {recent[0].words}{more}", "bad")


def folders(root: Path) -> list[Path]:
    """Artefact folders below `root`, without those that are being written aside."""
    return sorted(path for path in _entries(root) if path.is_dir() and not path.name.startswith("."))


def done_at(folder: Path) -> datetime:
    """When a finished artefact was finished."""
    return datetime.fromtimestamp((folder / "DONE").stat().st_mtime, UTC)


def read_ledger(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a trader's ledger, without its lock: a trader may be at work.

    Raises:
        CappuccinoError: the file is not a ledger.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            return database.execute(query).fetchall()
    except sqlite3.Error as error:
        raise CappuccinoError(f"{path} cannot be read ({error})") from error


def _current(cappuccino: Cappuccino, stage: str) -> Path | None:
    return cappuccino.current.folder(stage) if cappuccino.current.has(stage) else None


def _entries(root: Path) -> Iterable[Path]:
    return root.iterdir() if root.is_dir() else []


def _alerts(cappuccino: Cappuccino) -> Iterable[tuple[datetime, str]]:
    path = cappuccino.configuration.alerts_file
    for line in path.read_text().splitlines() if path.is_file() else []:
        one = json.loads(line)
        who = f"run {one['job']} failed" if "job" in one else one.get("source", "alert")
        yield datetime.fromisoformat(one["when"]), f"{who}: {one['reason']}"


def _ledger_alarms(cappuccino: Cappuccino) -> Iterable[tuple[datetime, str]]:
    """Rows that a person should see. Of replayed history the rows carry its own times, so only recent ones alarm."""
    ledgers = sorted(cappuccino.configuration.trading_root.rglob(LEDGER), key=lambda path: path.stat().st_mtime)
    for path in ledgers[-_LEDGERS:]:
        query = (
            "SELECT at, kind, payload FROM ledger WHERE kind IN ('alarm', 'halt', 'reduce') ORDER BY seq DESC LIMIT 20"
        )
        for at, kind, payload in read_ledger(path, query):
            yield datetime.fromisoformat(at), f"trader {kind}: {json.loads(payload).get('reason', '')}"
