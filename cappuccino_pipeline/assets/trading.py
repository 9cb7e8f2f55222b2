"""The trading stage: the model that an alias names is verified and deployed; its paper session is reported."""

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.registry import promoted_model
from cappuccino_pipeline.metadata import OWNERS, picture
from cappuccino_pipeline.resources import Cappuccino


@dg.asset(
    group_name="trading",
    deps=[promoted_model],
    code_version=code_version("trading"),
    owners=OWNERS,
    kinds={"mlflow"},
    tags={"stage": "trading"},
)
def paper_trader_deployment(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The model on the paper account: the challenger, else the champion, verified before it may trade."""
    from cappuccino_ml.policy import Actor  # noqa: PLC0415
    from cappuccino_ml.trading import follow_registry  # noqa: PLC0415

    outcome = follow_registry(
        cappuccino.registry,
        load=Actor.load,
        universe=cappuccino.configuration.universe,
        record=cappuccino.configuration.deployment_record,
        into=cappuccino.configuration.models_root / cappuccino.configuration.market,
        who=f"dagster run {context.run.run_id}",
        clock=cappuccino.clock,
    )
    context.log.info(cappuccino.say(outcome.sentence))
    deployed = outcome.deployment.model_dump(mode="json") if outcome.deployment else {}
    return dg.MaterializeResult(metadata={"status": outcome.sentence, "deployment": dg.MetadataValue.json(deployed)})


@dg.asset(
    group_name="trading",
    deps=[paper_trader_deployment],
    code_version=code_version("environment", "trading"),
    owners=OWNERS,
    kinds={"sqlite"},
    tags={"stage": "trading"},
)
def paper_trading_report(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The last week through the live trader on the simulated broker, order by order against the backtest.

    Without a deployed model it is a REHEARSAL of the candidate, labelled so, in a ledger of its own.
    """
    import pandas as pd  # noqa: PLC0415

    from cappuccino_ml.policy import Actor  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.trading import model_to_trade, read_fills, run_session  # noqa: PLC0415

    configuration, dataset = cappuccino.configuration, cappuccino.dataset
    version, label = model_to_trade(record=configuration.deployment_record, candidate=cappuccino.current.version)
    first, last = dataset.splits.paper
    report, folder = run_session(
        configuration.trading_root / "sessions",
        actor=Actor.load(cappuccino.download(version)),
        model_version=version,
        panel=cappuccino.panel(),
        first_open=dataset.market.timestamps[first],
        bars=last - first,
        label=label,
    )
    cappuccino.current.point("paper_trading_report", folder)
    facts = report.comparison
    context.log.info(
        cappuccino.say(f"{label}: {facts.fills} fills, orders equal to the backtest: {facts.orders_equal}")
    )
    drawn = pictures.session(
        equity=pd.read_parquet(folder / "equity.parquet"),
        report=report,
        label=dataset.config.label,
        path=configuration.reports_root / "session.png",
    )
    trades = pictures.session_trades(
        times=dataset.market.timestamps[first : last + 1],
        close=dataset.market.close[first : last + 1],
        fills=read_fills(folder),
        report=report,
        tickers=dataset.market.schema.tickers,
        label=dataset.config.label,
        path=configuration.reports_root / "session_trades.png",
    )
    return dg.MaterializeResult(
        metadata={
            "session": label,
            "source": dataset.config.label,
            "model_version": version,
            "bars": facts.bars,
            "fills": facts.fills,
            "orders_equal_to_backtest": facts.orders_equal,
            "return_gap_bps_per_turnover": facts.gap_bps_per_turnover,
            "recommendation": facts.recommendation,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in facts.reasons) or "none"),
            "equity": picture(drawn),
            "trades": picture(trades),
            "folder": dg.MetadataValue.path(str(folder)),
        }
    )
