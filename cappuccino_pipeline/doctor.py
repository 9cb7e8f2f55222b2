"""`cappuccino doctor`: ten lines on the state of everything; what does not exist yet is "none yet", never a crash."""

import platform
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cappuccino_ml.core import CappuccinoError, file_sha256, is_done, read_json
from cappuccino_ml.lake import LakeTable
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.table_facts import table_facts

NONE_YET = "none yet"
DEPLOYMENT_RECORD = "deployment.json"
SESSIONS = "sessions"
LEDGER = "ledger.sqlite"
_PACKAGES = ("cappuccino", "torch", "dagster", "mlflow", "optuna")


def report(configuration: Configuration | None = None) -> list[str]:
    """Exactly ten lines `name: value`.

    Raises:
        ConfigurationError: the environment itself is wrong; there is nothing to report on then.
    """
    configuration = configuration or Configuration.read()
    cappuccino = Cappuccino(configuration)
    lines: dict[str, Callable[[], str]] = {
        "versions": _versions,
        "state": lambda: _state(configuration.state),
        "source": lambda: _source(cappuccino),
        "bars": lambda: _table(cappuccino.bars),
        "features": lambda: _table(cappuccino.features),
        "dataset": lambda: _artifacts(configuration.datasets_root),
        "study": lambda: _artifacts(configuration.studies_root),
        "aliases": lambda: _aliases(cappuccino),
        "trader": lambda: _trader(configuration.trading_root),
        "last run": lambda: _last_run(configuration.dagster_home),
    }
    return [f"{name}: {_said(line)}" for name, line in lines.items()]


def _said(line: Callable[[], str]) -> str:
    try:
        return line()
    except CappuccinoError as error:
        return f"PROBLEM: {error}"


def _versions() -> str:
    return ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)])


def _state(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{folder}, writable, {size / 1e6:,.1f} MB"


def _source(cappuccino: Cappuccino) -> str:
    universe = cappuccino.configuration.universe
    return (
        f"{cappuccino.source.label}, {cappuccino.coverage_text}, "
        f"{', '.join(universe.tickers)} in {universe.quote}, {universe.timeframe}"
    )


def _table(table: LakeTable) -> str:
    entries = table.partitions.values()
    if not entries:
        return NONE_YET
    bad = [entry.file for entry in entries if not _is_whole(table.folder / entry.file, sha256=entry.sha256)]
    health = "all files verified" if not bad else f"PROBLEM: {', '.join(bad)} missing or altered; materialize again"
    facts = table_facts(table)
    return f"{facts.months} months, {facts.rows:,} rows, {facts.range}, {health}"


def _is_whole(path: Path, *, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _artifacts(root: Path) -> str:
    done = sorted((folder for folder in _folders(root) if is_done(folder)), key=lambda folder: folder.stat().st_mtime)
    open_ones = [folder for folder in _folders(root) if not is_done(folder) and not folder.name.startswith(".")]
    unfinished = f", {len(open_ones)} unfinished" if open_ones else ""
    if not done:
        return NONE_YET + unfinished
    made = datetime.fromtimestamp(done[-1].stat().st_mtime, UTC)
    return f"{len(done)} finished, newest {done[-1].name} of {made:%Y-%m-%d %H:%M} UTC{unfinished}"


def _folders(root: Path) -> Iterable[Path]:
    return [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []


def _aliases(cappuccino: Cappuccino) -> str:
    return ", ".join(f"{alias} v{number}" for alias, number in cappuccino.aliases().items()) or NONE_YET


def _trader(root: Path) -> str:
    record = root / DEPLOYMENT_RECORD
    deployed = NONE_YET
    if record.is_file():
        made = read_json(record)
        deployed = f"version {made['version']} ({made['arm']}) as {made['alias']}, since {made['when'][:16]}"
    held = [folder for folder in _folders(root / SESSIONS) if is_done(folder)]
    if not held:
        return f"deployed {deployed}; sessions {NONE_YET}"
    newest = max(held, key=lambda folder: folder.stat().st_mtime)
    return f"deployed {deployed}; {len(held)} sessions, newest {newest.name}: ledger of {_ledger(newest / LEDGER)}"


def _ledger(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT count(*) FROM ledger").fetchone()[0]
            last = database.execute("SELECT kind, at FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        return f"PROBLEM: {path} cannot be read ({error})"
    return f"{rows:,} rows, last {last[0]} at {last[1]}" if last else "empty"


def _last_run(home: Path) -> str:
    from cappuccino_pipeline.dagster_home import has_history, open_instance  # noqa: PLC0415  (Dagster takes 2 s)

    if not has_history(home):
        return NONE_YET
    with open_instance(home) as instance:
        records = instance.get_run_records(limit=1)
        if not records:
            return NONE_YET
        run, begun = records[0].dagster_run, records[0].create_timestamp
        return f"{run.job_name} {run.status.value}, begun {begun:%Y-%m-%d %H:%M} UTC"
