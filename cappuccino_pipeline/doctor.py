"""`cappuccino doctor`: ten lines on the state of everything; what does not exist yet is "none yet", never a crash.

It reads every stored byte and opens the registry; `status` shows the same facts from pointers alone.
"""

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from cappuccino_ml.core import CappuccinoError, file_sha256, is_done
from cappuccino_ml.lake import LakeTable
from cappuccino_pipeline import facts
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.facts import NONE_YET, done_at, folders, minute
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.table_facts import table_facts

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
        "trader": lambda: _trader(cappuccino),
        "last run": lambda: _last_run(cappuccino),
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
    found = table_facts(table)
    return f"{found.months} months, {found.rows:,} rows, {found.range}, {health}"


def _is_whole(path: Path, *, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _artifacts(root: Path) -> str:
    done = sorted((folder for folder in folders(root) if is_done(folder)), key=done_at)
    open_ones = [folder for folder in folders(root) if not is_done(folder)]
    unfinished = f", {len(open_ones)} unfinished" if open_ones else ""
    if not done:
        return NONE_YET + unfinished
    return f"{len(done)} finished, newest {done[-1].name} of {minute(done_at(done[-1]))}{unfinished}"


def _aliases(cappuccino: Cappuccino) -> str:
    return ", ".join(f"{alias} v{number}" for alias, number in cappuccino.aliases().items()) or NONE_YET


def _trader(cappuccino: Cappuccino) -> str:
    """The deployment, the process that trades, the sessions held, and whether the newest ledger can be read."""
    said = [f"deployed {facts.safely('deployed', lambda: facts.deployment(cappuccino)).words}"]
    said += [facts.safely("trader", lambda: facts.trader(cappuccino)).words]
    held = [folder for folder in folders(cappuccino.configuration.trading_root / "sessions") if is_done(folder)]
    if not held:
        return "; ".join([*said, f"sessions {NONE_YET}"])
    newest = max(held, key=done_at)
    counted = facts.read_ledger(newest / facts.LEDGER, "SELECT count(*), max(at) FROM ledger")
    rows, last = counted[0]
    said += [f"{len(held)} sessions, newest {newest.name}: ledger of {rows:,} rows, last at {last}"]
    return "; ".join(said)


def _last_run(cappuccino: Cappuccino) -> str:
    from cappuccino_pipeline.status import run_facts  # noqa: PLC0415 - Dagster takes a second

    return run_facts(cappuccino)[0].words
