"""How old an asset may become before Dagster calls it overdue: only where bars keep coming can anything be."""

from datetime import timedelta

import dagster as dg

from cappuccino_pipeline.resources import this_process

_OLDEST = timedelta(hours=3)  # an exchange's bars should have been asked for within this, and within three bars


def new_bars() -> dg.FreshnessPolicy | None:
    """For what the hourly schedule makes."""
    return while_bars_come(fail=max(_OLDEST, 3 * this_process().configuration.universe.bar))


def while_bars_come(*, fail: timedelta, warn: timedelta | None = None) -> dg.FreshnessPolicy | None:
    """Overdue after `fail`, and marked after `warn`; None for a source that has ended: its bars never change."""
    if this_process().coverage[1] is not None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
