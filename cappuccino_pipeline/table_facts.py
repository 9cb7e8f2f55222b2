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
    span = f"{min(firsts)} to {max(lasts)}" if firsts and lasts else "no rows"
    last = datetime.fromisoformat(max(lasts)).astimezone(UTC) if lasts else None
    return TableFacts(months=len(entries), rows=sum(entry.rows for entry in entries), range=span, last=last)
