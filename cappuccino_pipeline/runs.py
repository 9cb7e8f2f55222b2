"""What Dagster knows: runs under way, the last run, and when each schedule ticks next; Dagster takes 1 s to import."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.execution.stats import StepEventStatus
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._utils.schedules import schedule_execution_time_iterator

from cappuccino_pipeline.dagster_home import has_history, open_instance
from cappuccino_pipeline.schedules import hourly_bars, nightly_retraining

_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_DAEMON_SILENT = timedelta(minutes=3)  # it reports every 30 s
_FAILED_STATUSES = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class Run:
    """One run as a person thinks of it."""

    job: str
    status: str
    begun: datetime
    ended: datetime | None
    step: str = ""  # of a run under way: the assets being made

    @property
    def failed(self) -> bool:
        """Whether it did not end well."""
        return self.status in {status.value for status in _FAILED_STATUSES}


@dataclass(frozen=True)
class Tick:
    """A schedule: whether it is switched on, and when it would tick next."""

    schedule: str
    on: bool
    next: datetime


@dataclass(frozen=True)
class Orchestration:
    """Everything about Dagster that a page shows."""

    ticks: tuple[Tick, ...]
    daemon: bool = False  # whether something works the schedules and sensors now
    under_way: tuple[Run, ...] = field(default=())
    last: Run | None = None


def orchestration(home: Path, *, now: datetime) -> Orchestration:
    """Read the instance in `home`; one that was never used is not made."""
    if not has_history(home):
        return Orchestration(ticks=_ticks(set(), now=now))
    with open_instance(home) as instance:
        switched_on = {
            state.name for state in instance.all_instigator_state() if state.status == InstigatorStatus.RUNNING
        }
        beats = [status.last_heartbeat for status in instance.get_daemon_statuses().values() if status.last_heartbeat]
        beat = max((heartbeat.timestamp for heartbeat in beats), default=0.0)
        filters = dg.RunsFilter(statuses=_UNDER_WAY)
        return Orchestration(
            ticks=_ticks(switched_on, now=now),
            daemon=now.timestamp() - beat < _DAEMON_SILENT.total_seconds(),
            under_way=tuple(_run(instance, record, steps=True) for record in instance.get_run_records(filters)),
            last=next((_run(instance, record) for record in instance.get_run_records(limit=1)), None),
        )


def _ticks(switched_on: set[str], *, now: datetime) -> tuple[Tick, ...]:
    found = []
    for schedule in (hourly_bars, nightly_retraining):
        times = schedule_execution_time_iterator(now.timestamp(), str(schedule.cron_schedule), "UTC")
        following = next(moment for moment in times if moment > now).astimezone(UTC)
        found.append(Tick(schedule=schedule.name, on=schedule.name in switched_on, next=following))
    return tuple(found)


def called(run: dg.DagsterRun) -> str:
    """The run's job; of a run without a job, whose name is Dagster's own, the assets it makes."""
    if not run.job_name.startswith("__"):
        return run.job_name
    return ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or "assets"


def _run(instance: dg.DagsterInstance, record: dg.RunRecord, *, steps: bool = False) -> Run:
    run = record.dagster_run
    begun = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else None
    working = []
    if steps:
        stats = instance.get_run_step_stats(run.run_id)
        working = [step.step_key for step in stats if step.status == StepEventStatus.IN_PROGRESS]
    return Run(job=called(run), status=run.status.value, begun=begun, ended=ended, step=", ".join(working))
