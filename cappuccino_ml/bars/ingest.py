"""From a source into the lake, month by month: ask for what is missing, record revisions, store closed bars only."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from cappuccino_ml.bars.answered import OVERLAP_BARS, Range, SymbolMonth, take_in
from cappuccino_ml.bars.grid import align
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.schema import BAR_COLUMNS, BARS_COLUMNS, BARS_SCHEMA, empty_bars, tidy_bars
from cappuccino_ml.bars.source import BarSource
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import DataError, digest
from cappuccino_ml.lake import LakeTable, PartitionEntry

_LISTED_REVISIONS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bars_table(
    root: Path, *, source: BarSource, universe: Universe, market: str | None = None, lock_timeout_s: float = 60.0
) -> LakeTable:
    """The lake table that holds `source`'s bars of `universe`; another source or universe is another table beside it.

    Args:
        root: the state folder.
        source: where the bars come from.
        universe: the symbols, in order, and the bar length.
        market: how people name it, at the head of the folder's name; the source's name if not given.
        lock_timeout_s: how long a second writer waits for the first.
    """
    identity = {
        "columns": BARS_SCHEMA,
        "source": source.identity(),
        "universe": universe.model_dump(mode="json"),
    }
    name = f"{market or source.name}-{digest(identity)[:8]}"
    return LakeTable(root, stage="bars", name=name, identity=identity, lock_timeout_s=lock_timeout_s)


def ingest_month(
    source: BarSource,
    table: LakeTable,
    universe: Universe,
    month: str,
    *,
    now: datetime,
    window: tuple[datetime, datetime | None] | None = None,
    refresh: bool = False,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Bring one monthly partition up to date, asking only for what the source has not answered for.

    The partition's meta keeps, by symbol, the stretch that was answered (`answered`) and the first and last bar
    (`held`). The newest `OVERLAP_BARS` before `now` never count as answered, because a missing bar there may be late
    and a bar there may still be revised: they are asked for again until they are older than that, over the turn of the
    month too. A complete month costs no request and no write, an empty one (before the listing) is remembered as such.

    A bar that comes with other values replaces the stored one and is recorded in the meta; one that the source no
    longer has stays. Bars not closed at `now` are never stored. Brought up to date in any steps, killed or not, the
    partition ends with the same bytes; what was revised between the steps shows in the record of revisions only.

    If the source fails, it is not asked further; what it had answered whole before is stored, then the error goes on.
    The table's lock is held meanwhile: another writer waits, and gets a sentence if that takes too long.

    Args:
        source: where bars come from.
        table: where they go; see `bars_table`.
        universe: the symbols.
        month: partition, `YYYY-MM`.
        now: the present moment, with time zone.
        window: store bars that open in [start, end) only, without end if that is None; the source's coverage if not
            given.
        refresh: ask for the whole month again, to find revisions and bars supplied late.
        tell: is told in one line what each request brought.

    Returns:
        JSON facts: month, rows, rows_by_symbol, range_by_symbol ([first, last] open), asked (ranges, by symbol),
        new_rows, revisions (how many, found now), revised (those: symbol, timestamp, old and new values),
        changed_from (open of the earliest bar that is new or revised, None if there is none), gaps (symbol, first, bars
        of each hole that the source has confirmed, from a symbol's listing on), written.

    Raises:
        DataError: `month` is not a month, or the source does not serve this range, or its rows are not bars.
        SourceError: the source could not be reached or refused.
        LakeError: another writer holds the table, or the disk refuses.
    """
    span, settled = _span(source, universe, month, now=now, window=window)
    asked: dict[str, list[list[str]]] = {}
    new_rows, revised, changes = 0, list[dict[str, Any]](), list[datetime]()
    with table.lock():
        entries = table.partitions
        stored = table.read(month) if month in entries else empty_bars()
        known = {symbol: _known(symbol, month, stored, entries) for symbol in universe.symbols}
        written = False
        try:
            for symbol in universe.symbols:
                for first, stop in known[symbol].wanted(span, universe, refresh=refresh):
                    fresh = fetch_bars(source, symbol, universe, first, stop)
                    change = take_in(known[symbol].bars, fresh)
                    known[symbol] = known[symbol].learn(change.bars, asked=(first, stop), settled=settled)
                    asked.setdefault(symbol, []).append([first.isoformat(), stop.isoformat()])
                    new_rows += change.added
                    changes += [change.first] if change.first is not None else []
                    revised += [{"symbol": symbol, **revision} for revision in change.revised]
                    if tell is not None:
                        tell(f"{month} {symbol}: {len(fresh)} bars, {first:%Y-%m-%dT%H:%MZ} to {stop:%Y-%m-%dT%H:%MZ}")
        finally:
            if asked:
                written = _store(table, month, known, entries.get(month), revised=revised, changed=bool(changes))
    return {
        "month": month,
        "rows": sum(len(one.bars) for one in known.values()),
        "rows_by_symbol": {symbol: len(one.bars) for symbol, one in known.items()},
        "range_by_symbol": _held(known),
        "asked": asked,
        "new_rows": new_rows,
        "revisions": len(revised),
        "revised": revised,
        "changed_from": min(changes).isoformat() if changes else None,
        "gaps": [
            {"symbol": symbol, "first": gap.first.isoformat(), "bars": gap.bars}
            for symbol, one in known.items()
            for gap in one.gaps(universe.bar)
        ],
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


def open_months(
    table: LakeTable, universe: Universe, *, window: tuple[datetime, datetime | None], now: datetime
) -> list[str]:
    """Months that were begun and for which the source has not yet answered to their end, oldest first.

    Those after the newest stored one, up to `now`, are among them: the machine may have been off for longer.

    Args:
        table: the bars.
        universe: the symbols.
        window: bars that open in [start, end) are wanted, without end if that is None.
        now: the present moment.
    """
    entries = table.partitions
    if not entries:
        return []
    since, until = window
    newest, _ = month_bounds(max(entries))
    later = [month for month in months_between(newest, now) if month not in entries] if newest < now else []
    found = []
    for month in [*entries, *later]:
        first, after = month_bounds(month)
        begin, end = max(first, since), after if until is None else min(after, until)
        answered = entries[month].meta.get("answered", {}) if month in entries else {}
        spans = [answered.get(symbol) for symbol in universe.symbols]
        if begin < end and not all(span and _moment(span[0]) <= begin and _moment(span[1]) >= end for span in spans):
            found.append(month)
    return found


def month_bounds(month: str) -> Range:
    """First moment of the month `YYYY-MM` and of the next one, UTC.

    Raises:
        DataError: it is not a month.
    """
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"{month!r} is not a month; write it as 2024-03.") from error
    return first, (first + timedelta(days=32)).replace(day=1)


def months_between(start: datetime, end: datetime) -> list[str]:
    """The months, `YYYY-MM`, that [start, end) touches."""
    last = end - timedelta(microseconds=1)
    count = (last.year - start.year) * 12 + last.month - start.month + 1
    return [f"{start.year + (start.month - 1 + k) // 12}-{(start.month - 1 + k) % 12 + 1:02d}" for k in range(count)]


def _span(
    source: BarSource,
    universe: Universe,
    month: str,
    *,
    now: datetime,
    window: tuple[datetime, datetime | None] | None,
) -> tuple[Range, datetime]:
    """Opens of the bars that belong in the partition (of month and window, closed); and until when they are settled."""
    first, after = month_bounds(month)
    bar = universe.bar
    closed = now - (now - _EPOCH) % bar  # a bar that opens at or after this one's open is still forming
    since, until = window if window is not None else source.coverage(universe)
    stop = min(after, closed, until if until is not None else closed)
    # Bars open on the grid, so the stretch may begin and end there; then a gap is a whole number of bars.
    begin, end = (moment.astimezone(UTC) + (_EPOCH - moment) % bar for moment in (max(first, since), stop))
    return (begin, end), closed.astimezone(UTC) - OVERLAP_BARS * bar


def _known(symbol: str, month: str, stored: pd.DataFrame, entries: dict[str, PartitionEntry]) -> SymbolMonth:
    bars = stored.loc[stored["symbol"] == symbol, list(BAR_COLUMNS)].reset_index(drop=True)
    # Months stored before these facts were kept count as not answered: they are asked for once more.
    held = [(other, entry.meta.get("held", {}).get(symbol)) for other, entry in entries.items()]
    answered = entries[month].meta.get("answered", {}).get(symbol) if month in entries else None
    return SymbolMonth(
        bars=bars,
        answered=None if answered is None else (_moment(answered[0]), _moment(answered[1])),
        before=next((_moment(span[1]) for other, span in reversed(held) if span and other < month), None),
        after=next((_moment(span[0]) for other, span in held if span and other > month), None),
    )


def _held(known: dict[str, SymbolMonth]) -> dict[str, list[str]]:
    """First and last open of the symbols that have bars."""
    return {
        symbol: [one.bars["timestamp"].iloc[row].isoformat() for row in (0, -1)]
        for symbol, one in known.items()
        if len(one.bars)
    }


def _store(
    table: LakeTable,
    month: str,
    known: dict[str, SymbolMonth],
    entry: PartitionEntry | None,
    *,
    revised: list[dict[str, Any]],
    changed: bool,
) -> bool:
    """Write the month if its rows or what is known of them changed."""
    before: dict[str, Any] = entry.meta if entry is not None else {"revisions": 0, "revised": []}
    meta = {
        "answered": {
            symbol: [moment.isoformat() for moment in one.answered]
            for symbol, one in known.items()
            if one.answered is not None
        },
        "held": _held(known),
        "revisions": before["revisions"] + len(revised),
        "revised": (before["revised"] + revised)[-_LISTED_REVISIONS:],
    }
    if not changed and meta == before:
        return False
    parts = [one.bars.assign(symbol=symbol) for symbol, one in known.items() if len(one.bars)]
    if not parts and not meta["answered"]:
        return False
    bars = pd.concat(parts or [empty_bars()], ignore_index=True)[list(BARS_COLUMNS)].astype({"symbol": "str"})
    return table.write(month, bars.sort_values(["timestamp", "symbol"], kind="stable", ignore_index=True), meta=meta)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def fetch_bars(source: BarSource, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
    """Bars of `symbol` that open in [start, end), checked: sorted, each time once, finite; see `BarSource.fetch`."""
    bars = tidy_bars(source.fetch(symbol=symbol, universe=universe, start=start, end=end), symbol=symbol)
    # A source may send more than was asked for, the forming bar included.
    inside = (bars["timestamp"] >= pd.Timestamp(start)) & (bars["timestamp"] < pd.Timestamp(end))
    return bars[inside].reset_index(drop=True)
