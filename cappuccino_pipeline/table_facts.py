"""Rows, months and range of a lake table: said in the same words by materializations and by the doctor."""

from datetime import UTC, datetime
from typing import NamedTuple

from cappuccino_ml.lake import LakeTable


class TableFacts(NamedTuple):
    """What a manifest says of a whole table."""

    months: int
    rows: int
    range: str
    last: datetime | None  # open time of the newest row, UTC


def table_facts(table: LakeTable) -> TableFacts:
    """Read from the manifest alone; the range is `first to last` open time, or `no rows`."""
    entries = list(table.partitions.values())
    firsts = [entry.first for entry in entries if entry.first is not None]
    lasts = [entry.last for entry in entries if entry.last is not None]
    first, last = (
        datetime.fromisoformat(text).astimezone(UTC) if text else None
        for text in (min(firsts, default=None), max(lasts, default=None))
    )
    span = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC" if first and last else "no rows"
    return TableFacts(months=len(entries), rows=sum(entry.rows for entry in entries), range=span, last=last)
