"""Schedules: bars every hour, retraining every night. Both are shipped stopped: a person starts them."""

from datetime import UTC, timedelta

import dagster as dg

from cappuccino_ml.bars import OVERLAP_BARS
from cappuccino_pipeline.jobs import retrain, update_bars
from cappuccino_pipeline.partitions import MONTHS, month_of
from cappuccino_pipeline.resources import this_process

# The last bar of a month closes in the next one, and the newest bars are not settled: exchanges complete and revise
# them. So for two days after the turn, longer where bars are long, the month before is updated too.
_TURN = max(timedelta(days=2), (OVERLAP_BARS + 2) * this_process().configuration.universe.bar)


@dg.schedule(
    name="hourly_bars",
    job=update_bars,
    cron_schedule="3 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Three minutes after each hour: the closed bars and their features, for the running month.",
)
def hourly_bars(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """One run per month that may lack bars at this tick."""
    now = context.scheduled_execution_time.astimezone(UTC)
    months = [key for key in sorted({month_of(now - _TURN), month_of(now)}) if key in MONTHS.get_partition_keys()]
    if not months:
        return dg.SkipReason(
            f"{month_of(now)} lies outside what the source covers; it ends with {MONTHS.get_last_partition_key()}"
        )
    return [dg.RunRequest(run_key=f"{now:%Y%m%dT%H%M}-{month}", partition_key=month) for month in months]


nightly_retraining = dg.ScheduleDefinition(
    name="nightly_retraining",
    job=retrain,
    cron_schedule="30 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="02:30 UTC: refit the incumbent on the newest bars; registered and scored, never promoted by itself.",
)
