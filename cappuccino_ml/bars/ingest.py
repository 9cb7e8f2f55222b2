"""From a source into the lake, month by month: ask for what is missing, record revisions, store closed bars only."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cappuccino_ml.bars.grid import align
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.schema import BAR_COLUMNS, BARS_COLUMNS, BARS_SCHEMA, empty_bars, tidy_bars, times
from cappuccino_ml.bars.source import BarSource
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import DataError
from cappuccino_ml.lake import LakeTable

OVERLAP_BARS = 24  # asked for again at the growing edge, where exchanges still revise bars and fill short holes
_LISTED_REVISIONS = 200
Range = tuple[datetime, datetime]


def bars_table(root: Path, *, source: BarSource, universe: Universe, lock_timeout_s: float = 60.0) -> LakeTable:
    """The lake table `bars/<source>-<timeframe>-<quote>` that holds `source`'s bars of `universe`."""
    identity = {
        "columns": BARS_SCHEMA,
        "source": source.identity(),
        "universe": universe.model_dump(mode="json"),
    }
    name = f"{source.name}-{universe.timeframe}-{universe.quote}"
    return LakeTable(root, stage="bars", name=name, identity=identity, lock_timeout_s=lock_timeout_s)


def ingest_month(
    source: BarSource,
    table: LakeTable,
    universe: Universe,
    month: str,
    *,
    now: datetime,
    window: Range | None = None,
    refresh: bool = False,
) -> dict[str, Any]:
    """Bring one monthly partition up to date.

    Of a symbol the partition knows, only what lies before its first and after its last bar is asked for, with the
    last `OVERLAP_BARS` once more, and holes that are too long to fill: they may have been supplied since. A bar that
    comes with other values replaces the stored one and is recorded in the partition's meta as a revision. Bars not
    closed at `now` are never stored. With nothing new nothing is written.

    Args:
        source: where bars come from.
        table: where they go; see `bars_table`.
        universe: the symbols.
        month: partition, `YYYY-MM`.
        now: the present moment, with time zone.
        window: store bars that open in [start, end) only; the source's coverage if not given.
        refresh: ask for the whole month again, to find revisions.

    Returns:
        Facts: month, rows, new_rows, revisions (found now), asked (ranges asked for, by symbol), rows_by_symbol,
        written.

    Raises:
        DataError: `month` is not a month, or the source's rows are not bars.
        LakeError: another writer holds the table.
    """
    begin, end = _span(source, universe, month, now=now, window=window)
    with table.lock():
        entry = table.partitions.get(month)
        stored = table.read(month) if entry is not None else empty_bars()
        asked: dict[str, list[list[str]]] = {}
        parts, new_rows, revised = [], 0, []
        for symbol in universe.symbols:
            old = stored.loc[stored["symbol"] == symbol, list(BAR_COLUMNS)].reset_index(drop=True)
            ranges = _wanted(old, begin, end, universe, refresh=refresh)
            asked[symbol] = [[first.isoformat(), stop.isoformat()] for first, stop in ranges]
            for first, stop in ranges:
                fresh = _fetch(source, symbol, universe, first, stop)
                revised += _revisions(symbol, old, fresh)
                old, added = _merge(old, fresh)
                new_rows += added
            parts.append(old.assign(symbol=symbol))
        merged = pd.concat([part for part in parts if len(part)] or [empty_bars()], ignore_index=True)
        merged = merged[list(BARS_COLUMNS)].sort_values(["timestamp", "symbol"], kind="stable", ignore_index=True)
        meta: dict[str, Any] = dict(entry.meta) if entry is not None else {"revisions": 0, "revised": []}
        written = False
        if new_rows or revised:
            meta["revisions"] += len(revised)
            meta["revised"] = (meta["revised"] + revised)[-_LISTED_REVISIONS:]
            written = table.write(month, merged.astype({"symbol": "str"}), meta=meta)
    return {
        "month": month,
        "rows": len(merged),
        "new_rows": new_rows,
        "revisions": len(revised),
        "asked": {symbol: ranges for symbol, ranges in asked.items() if ranges},
        "rows_by_symbol": {symbol: int((merged["symbol"] == symbol).sum()) for symbol in universe.symbols},
        "written": written,
    }


def read_bars(table: LakeTable, *, start: datetime | None = None, end: datetime | None = None) -> pd.DataFrame:
    """The long bars of the months that touch [start, end), all of them if not given.

    Raises:
        DataError: the table has no bars there.
    """
    # Partition names sort like time, so months are chosen without reading them.
    months = [
        month
        for month in table.partitions
        if (start is None or month >= f"{start:%Y-%m}") and (end is None or month <= f"{end:%Y-%m}")
    ]
    if not months:
        raise DataError(f"{table.folder} has no bars in the range asked for; ingest those months first.")
    return pd.concat([table.read(month) for month in months], ignore_index=True)


def read_panel(
    table: LakeTable,
    universe: Universe,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> BarPanel:
    """The lake's bars that open in [start, end) on the common grid; see `align` for what is filled and refused."""
    return align(read_bars(table, start=start, end=end), universe, start=start, end=end)


def months_between(start: datetime, end: datetime) -> list[str]:
    """The months, `YYYY-MM`, that [start, end) touches."""
    last = end - timedelta(microseconds=1)
    count = (last.year - start.year) * 12 + last.month - start.month + 1
    return [f"{start.year + (start.month - 1 + k) // 12}-{(start.month - 1 + k) % 12 + 1:02d}" for k in range(count)]


def _span(source: BarSource, universe: Universe, month: str, *, now: datetime, window: Range | None) -> Range:
    """Opens of the bars that belong in the partition: month, window and coverage, and closed at `now`."""
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"{month!r} is not a month; write it as 2024-03.") from error
    stop = (first + timedelta(days=32)).replace(day=1)
    since, until = window if window is not None else source.coverage(universe)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    closed = now - (now - epoch) % universe.bar  # a bar that opens at or after this one's open is still forming
    return max(first, since), min(stop, until, closed)


def _wanted(old: pd.DataFrame, begin: datetime, end: datetime, universe: Universe, *, refresh: bool) -> list[Range]:
    if begin >= end:
        return []
    if old.empty or refresh:
        return [(begin, end)]
    bar = universe.bar
    first, after = old["timestamp"].iloc[0].to_pydatetime(), old["timestamp"].iloc[-1].to_pydatetime() + bar
    ranges = [(begin, min(first, end))] if begin < first else []
    opens = [moment.to_pydatetime() for moment in old["timestamp"]]
    too_long = (universe.fill_cap_bars + 1) * bar
    ranges += [(one + bar, other) for one, other in itertools.pairwise(opens) if other - one > too_long]
    if after < end:
        ranges.append((max(after - OVERLAP_BARS * bar, begin), end))
    return ranges


def _fetch(source: BarSource, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
    bars = tidy_bars(source.fetch(symbol=symbol, universe=universe, start=start, end=end), symbol=symbol)
    # A source may send more than was asked for, the forming bar included.
    inside = (bars["timestamp"] >= pd.Timestamp(start)) & (bars["timestamp"] < pd.Timestamp(end))
    return bars[inside].reset_index(drop=True)


def _revisions(symbol: str, old: pd.DataFrame, fresh: pd.DataFrame) -> list[dict[str, Any]]:
    """Bars that both frames have with different values."""
    values = list(BAR_COLUMNS[1:])
    shared, in_old, in_fresh = np.intersect1d(times(old), times(fresh), assume_unique=True, return_indices=True)
    before, after = old[values].to_numpy()[in_old], fresh[values].to_numpy()[in_fresh]
    return [
        {
            "symbol": symbol,
            "timestamp": f"{np.datetime_as_string(shared[row], unit='s')}Z",
            "old": before[row].tolist(),
            "new": after[row].tolist(),
        }
        for row in np.flatnonzero((before != after).any(axis=1))
    ]


def _merge(old: pd.DataFrame, fresh: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Both frames' bars in order, the fresh one where both have a time; and how many times are new."""
    if old.empty or fresh.empty:
        return (fresh if old.empty else old), (len(fresh) if old.empty else 0)
    both = pd.concat([old, fresh], ignore_index=True).drop_duplicates("timestamp", keep="last")
    return both.sort_values("timestamp", ignore_index=True), len(both) - len(old)
