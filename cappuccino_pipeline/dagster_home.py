"""The embedded Dagster instance: its folder, its dagster.yaml, and the burial of runs that a power cut left open."""

import os
from pathlib import Path

import dagster as dg
import psutil

from cappuccino_ml.core import write_bytes

PID_TAG = ".dagster/cappuccino_pid"  # so that Dagster hides it: of no use to people
_OPEN = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_MAX_RUN_HOURS = 24

INSTANCE_YAML = f"""\
# Written by `cappuccino`; edits are overwritten at the next start.
telemetry: {{enabled: false}}
nux: {{enabled: false}}
run_monitoring:
  enabled: true
  poll_interval_seconds: 10
  max_runtime_seconds: {_MAX_RUN_HOURS * 3600}
  free_slots_after_run_end_seconds: 60
run_retries: {{enabled: true, max_retries: 0}}
concurrency: {{runs: {{max_concurrent_runs: 2}}, pools: {{default_limit: 1, granularity: op}}}}
retention:
  sensor: {{purge_after_days: {{skipped: 3, success: 30}}}}
  schedule: {{purge_after_days: {{skipped: 3, success: 90}}}}
"""


def prepare_home(folder: Path) -> Path:
    """Make DAGSTER_HOME with its dagster.yaml, and point this process and its children there."""
    target = folder / "dagster.yaml"
    if not target.is_file() or target.read_text() != INSTANCE_YAML:
        write_bytes(target, INSTANCE_YAML.encode())
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "true"
    return folder


def has_history(folder: Path) -> bool:
    """Whether a Dagster instance has ever run there."""
    return (folder / "dagster.yaml").is_file() and (folder / "history").is_dir()


def open_instance(folder: Path) -> dg.DagsterInstance:
    """The instance in `folder`, made if absent; close it after use (it is a context manager)."""
    return dg.DagsterInstance.from_config(str(prepare_home(folder)))


def in_process_tags() -> dict[str, str]:
    """Tags for `execute_in_process`, so that `bury_dead_runs` can tell a living run from a dead one."""
    return {PID_TAG: str(os.getpid())}


def bury_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs FAILED whose process is gone; Dagster would show them as STARTED for ever and count them as running.

    Call it only while no daemon works on this instance: runs that a daemon started carry no process id.

    Returns:
        The ids of the runs that were marked.
    """
    dead = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=_OPEN))
        if not psutil.pid_exists(int(run.tags.get(PID_TAG, "-1")))
    ]
    for run in dead:
        instance.report_run_failed(run, "its process is gone (power cut or kill); materialize again")
    return [run.run_id for run in dead]
