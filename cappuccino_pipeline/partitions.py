"""Monthly partitions over what the source covers; tickers are inside a partition, never a second dimension."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from cappuccino_pipeline.resources import this_process

MONTH_FORMAT = "%Y-%m"


def month_partitions(*, start: datetime, end: datetime | None) -> dg.MonthlyPartitionsDefinition:
    """One partition per month that has a part in [start, end), `"2024-01"` and so on, the unfinished month included.

    Without an end new months come by themselves.
    """
    if end is None:
        return dg.MonthlyPartitionsDefinition(start_date=start.strftime(MONTH_FORMAT), fmt=MONTH_FORMAT, end_offset=1)
    last = end - timedelta(microseconds=1)
    after = datetime(last.year + last.month // 12, last.month % 12 + 1, 1, tzinfo=UTC)
    # end_offset 1: without it the running month, the one that hourly updates fill, would not exist before it is over.
    return dg.MonthlyPartitionsDefinition(
        start_date=start.strftime(MONTH_FORMAT), end_date=after.strftime(MONTH_FORMAT), fmt=MONTH_FORMAT, end_offset=1
    )


def month_of(moment: datetime) -> str:
    """The key of the partition that holds `moment` (UTC)."""
    return moment.astimezone(UTC).strftime(MONTH_FORMAT)


_FIRST, _END = this_process().coverage
MONTHS = month_partitions(start=_FIRST, end=_END)
