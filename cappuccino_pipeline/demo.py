"""`make demo`: the whole chain once on the configured bars, through the assets, jobs and sensor that the UI runs."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable

import dagster as dg

from cappuccino_ml.core import CappuccinoError
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.dagster_home import in_process_tags, open_instance
from cappuccino_pipeline.jobs import QUIET_CONSOLE, months_tags
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.stage_bar import StageBar

_EXPECTED = {cls.__name__ for cls in (CappuccinoError, *CappuccinoError.__subclasses__())}


class _Voice:
    """Lines of progress with the seconds since the start."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, line: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self.began:6.1f} s] {line}\n")
        sys.stdout.flush()


def main() -> None:
    """Materialize everything, evaluate the deployment sensor, print the page.

    Raises:
        CappuccinoError: an asset or a blocking check failed; the sentence is the stage's own.
    """
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    say, bar = _Voice(), StageBar()
    configuration = Configuration.read()
    cappuccino = Cappuccino(configuration, echo=say, watch=bar)
    asked = f"source {cappuccino.source.label}, budget {configuration.budget}, {configuration.workers} workers"
    say(f"{asked}, state {configuration.state}")
    try:
        with open_instance(configuration.dagster_home) as instance:
            said = run_chain(cappuccino, instance, tell=say)
    finally:
        bar(None)
    _show(cappuccino, sensor=said, seconds=time.monotonic() - say.began)


def run_chain(
    cappuccino: Cappuccino,
    instance: dg.DagsterInstance,
    *,
    months: tuple[str, str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> str:
    """Every asset in order, then the real sensor.

    Args:
        cappuccino: configuration and adapters.
        instance: where runs are recorded.
        months: first and last month of bars, such as ("2024-01", "2025-12"); all that the source covers by default.
        tell: told what begins.

    Returns:
        What the deployment sensor said.
    """
    from cappuccino_pipeline.partitions import MONTHS  # noqa: PLC0415
    from cappuccino_pipeline.sensors import follow_aliases  # noqa: PLC0415

    keys = MONTHS.get_partition_keys()
    first, last = months or (keys[0], keys[-1])
    tell(f"bars and features, {first} to {last}")
    run_job(cappuccino, instance, "update_bars", tags=months_tags(first=first, last=last))
    tell("data set, encoders, study, verdict, registration")
    run_job(cappuccino, instance, "research")
    tick = follow_aliases(dg.build_sensor_context(instance=instance, resources={"cappuccino": cappuccino}))
    assert isinstance(tick, dg.SensorResult)
    requests = list(tick.run_requests or [])
    for request in requests:
        tell(f"sensor follow_aliases requests {request.run_key}")
        run_job(cappuccino, instance, "trade", tags={**request.tags, "dagster/run_key": str(request.run_key)})
    if requests:
        return f"requested {', '.join(str(request.run_key) for request in requests)}"
    skip = tick.skip_reason
    reason = skip.skip_message if isinstance(skip, dg.SkipReason) else skip
    tell(f"sensor follow_aliases skips: {reason}")
    run_job(cappuccino, instance, "trade")
    return f"skipped: {reason}"


def run_job(
    cappuccino: Cappuccino, instance: dg.DagsterInstance, job: str, *, tags: dict[str, str] | None = None
) -> None:
    """Run one job in this process.

    Raises:
        CappuccinoError: an asset or a blocking check failed; the sentence is the stage's own.
    """
    from cappuccino_pipeline.definitions import definitions_for  # noqa: PLC0415

    result = (
        definitions_for(cappuccino)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config=QUIET_CONSOLE,
            tags={**in_process_tags(), **(tags or {})},
        )
    )
    if not result.success:
        raise CappuccinoError(failure_reason(result))


def failure_reason(result: dg.ExecuteInProcessResult) -> str:
    """The sentence of the first failure, without the stack."""
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking:
                findings = check.metadata.get("findings")
                asset = check.asset_key.to_user_string()
                return f"the blocking check {check.check_name} of {asset} failed: {_plain(findings)}"
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None and error.cls_name not in _EXPECTED:
                error = error.cause  # past Dagster's own; what lies below ours is for the log
            return error.message.strip().split(": ", 1)[-1] if error is not None else str(event.message)
    return "a run failed; see its events with `make ui`"


def _plain(value: object) -> str:
    lines = str(getattr(value, "value", value)).splitlines()
    return " ".join(line.strip("| ") for line in lines[2:5]) or "see `make ui`"


def _show(cappuccino: Cappuccino, *, sensor: str, seconds: float) -> None:
    from cappuccino_ml.encoder import load_encoder  # noqa: PLC0415
    from cappuccino_ml.reports.findings import drawn_in  # noqa: PLC0415
    from cappuccino_ml.reports.page import Findings, html, terminal  # noqa: PLC0415
    from cappuccino_ml.study import encoder_jobs, load_study  # noqa: PLC0415
    from cappuccino_ml.trading.paper import read_paper  # noqa: PLC0415
    from cappuccino_ml.verdict import load_report  # noqa: PLC0415

    configuration, current = cappuccino.configuration, cappuccino.current
    dataset, registry = cappuccino.dataset, cappuccino.registry
    jobs = encoder_jobs(dataset, cappuccino.plan.encoder, root=configuration.encoders_root)
    paper = read_paper(current.folder("paper_trading_report"))
    version = paper.session.model_version
    page = configuration.reports_root / "page.html"
    findings = Findings(
        market=configuration.market,
        budget=cappuccino.budget,
        dataset=dataset.config,
        skills={name: load_encoder(job.folder, expected=None).config.skill for name, job in jobs.items()},
        study=load_study(current.folder("optuna_study")),
        validation=load_report(current.folder("validation_report")),
        model_name=configuration.model_name,
        version=version,
        aliases=cappuccino.aliases(),
        mlflow_url=registry.facts(version)["run_url"],
        sensor=sensor,
        paper=paper,
        pictures=drawn_in(configuration.reports_root),
        page=page,
        lake_folder=cappuccino.bars.folder,
        state_folder=configuration.state,
        wall_seconds=seconds,
    )
    html(findings, path=page)
    sys.stdout.write("\n" + terminal(findings) + "\n")
