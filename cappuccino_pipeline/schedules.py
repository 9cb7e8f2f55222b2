"""Schedules: bars every hour, retraining every night. Both are shipped stopped: a person starts them."""

from datetime import UTC

import dagster as dg

from cappuccino_pipeline.jobs import retrain, update_bars
from cappuccino_pipeline.partitions import MONTHS, month_of
from cappuccino_pipeline.resources import Cappuccino


@dg.schedule(
    name="hourly_bars",
    job=update_bars,
    cron_schedule="3 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Three minutes after each hour: closed bars and their features, of the running month and of open ones.",
)
def hourly_bars(
    context: dg.ScheduleEvaluationContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> list[dg.RunRequest] | dg.SkipReason:
    """One run per month that may lack bars: of the newest bar, and stored ones that were never asked for to their end.

    A month is open until a day's worth of bars after its turn, or for as long as the machine was off.
    """
    now = context.scheduled_execution_time.astimezone(UTC)
    newest = {month_of(now - cappuccino.configuration.universe.bar), month_of(now)}
    months = [key for key in sorted({*newest, *cappuccino.open_months(now)}) if key in MONTHS.get_partition_keys()]
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
