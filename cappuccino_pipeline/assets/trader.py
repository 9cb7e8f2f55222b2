"""The process that trades: an asset starts, stops or shows it, a check says whether it is well."""

from enum import Enum

import dagster as dg
from pydantic import Field

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.trading import paper_trader_deployment
from cappuccino_pipeline.metadata import OWNERS
from cappuccino_pipeline.resources import Cappuccino


class Wish(Enum):
    """What may be asked for."""

    START = "start"
    STOP = "stop"
    SHOW = "show"


class TraderConfig(dg.Config):
    """What may be chosen in the launch form."""

    wish: Wish = Field(default=Wish.START, description="start it unless it runs, stop it cleanly, or only show it")


@dg.asset(
    group_name="trading",
    deps=[paper_trader_deployment],
    code_version=code_version("trading"),
    owners=OWNERS,
    kinds={"sqlite"},
    tags={"stage": "trading"},
)
def paper_trader(
    context: dg.AssetExecutionContext, config: TraderConfig, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The process that trades on paper by the clock. It outlives the run that started it and follows the deployment.

    START also asks `watch_trader` to start it again should it die; STOP takes that back.
    """
    from cappuccino_pipeline import trader  # noqa: PLC0415 - imports torch

    configuration = cappuccino.configuration
    did = {Wish.START: trader.start, Wish.STOP: trader.stop}.get(config.wish, lambda given: "shown")(configuration)
    context.log.info(cappuccino.say(did))
    facts = dict(line.split(": ", 1) for line in trader.status(configuration) if ": " in line)
    return dg.MaterializeResult(
        metadata={
            "did": did,
            **facts,
            "health": dg.MetadataValue.path(str(configuration.health_file)),
            "ledger": dg.MetadataValue.path(str(configuration.ledger_file)),
            "log": dg.MetadataValue.path(str(configuration.trader_log)),
        }
    )


@dg.asset_check(asset=paper_trader)
def trader_is_healthy(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.AssetCheckResult:
    """Fails on a dead process, an old heartbeat, a halt, a stale feed, and when alias, deployment and trader differ."""
    from cappuccino_pipeline.trader import problems  # noqa: PLC0415 - as above

    found = problems(cappuccino)
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"findings": dg.MetadataValue.md("\n".join(f"- {each}" for each in found) or "none")},
    )
