"""Everything Dagster loads from this project, listed by hand: assets, checks, jobs, schedules, sensors, resources."""

import dagster as dg

from cappuccino_pipeline.assets import (
    bars,
    experiments,
    features,
    registry,
    reports,
    status,
    study,
    trader,
    trading,
    training,
    verdict,
)
from cappuccino_pipeline.jobs import compare_arms, experiments_job, research, retrain, trade, update_bars
from cappuccino_pipeline.resources import Cappuccino, this_process
from cappuccino_pipeline.schedules import hourly_bars, nightly_retraining
from cappuccino_pipeline.sensors import follow_aliases, run_failure_alert, watch_trader

STAGES = [bars, features, training, study, verdict, registry, trading, trader, reports, experiments, status]


def definitions_for(cappuccino: Cappuccino) -> dg.Definitions:
    """The definitions over one configuration; its source must cover the same months as this process's."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules(STAGES),
        jobs=[update_bars, research, trade, retrain, compare_arms, experiments_job],
        schedules=[hourly_bars, nightly_retraining],
        sensors=[follow_aliases, run_failure_alert, watch_trader],
        resources={"cappuccino": cappuccino},
        # Few and big steps: a process per step would cost 3 to 6 s each. The study has its own worker processes.
        executor=dg.in_process_executor,
    )


defs = definitions_for(this_process())
