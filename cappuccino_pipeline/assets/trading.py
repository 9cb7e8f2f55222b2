"""The trading stage: the model that an alias names is verified and deployed; its paper session is reported."""

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.registry import promoted_model
from cappuccino_pipeline.metadata import OWNERS, mlflow_pages, picture
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.stage_bar import Step


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
    from cappuccino_ml.features import MarketTable  # noqa: PLC0415
    from cappuccino_ml.policy import Actor  # noqa: PLC0415
    from cappuccino_ml.trading import follow_registry, rehearse  # noqa: PLC0415

    def last_week(model: Actor) -> str:
        panel = cappuccino.panel()
        return rehearse(
            model,
            model_version="rehearsal",
            panel=panel,
            table=MarketTable.from_panel(panel),
            bars=cappuccino.plan.rehearsal_bars,
        )

    outcome = follow_registry(
        cappuccino.registry,
        load=Actor.load,
        universe=cappuccino.configuration.universe,
        record=cappuccino.configuration.deployment_record,
        into=cappuccino.configuration.models_root / cappuccino.configuration.market,
        who=f"dagster run {context.run.run_id}",
        clock=cappuccino.clock,
        rehearse=last_week,
    )
    context.log.info(cappuccino.say(outcome.sentence))
    made = outcome.deployment
    if made is None:
        return dg.MaterializeResult(metadata={"status": outcome.sentence})
    return dg.MaterializeResult(
        metadata={
            "status": outcome.sentence,
            "model_version": made.version,
            "model_key": made.key,
            "version_before": made.previous or "none",
            "checks": dg.MetadataValue.md("\n".join(f"- {check}" for check in made.checks)),
            **mlflow_pages(cappuccino.registry.facts(made.version)),
            "deployment": dg.MetadataValue.json(made.model_dump(mode="json", exclude={"checks", "folder"})),
            "folder": dg.MetadataValue.path(str(made.folder)),
        }
    )


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
    """The last week through the live trader on the simulated broker: go, no-go or extend, criterion by criterion.

    Without a deployed model it is a REHEARSAL of the candidate, labelled so, in a ledger of its own. A go of the
    challenger's paper session makes it `champion`, with the reasons in the registry's log, its tags and an event.
    """
    from cappuccino_ml.registry import crown_if_go  # noqa: PLC0415
    from cappuccino_ml.trading.paper import store_paper  # noqa: PLC0415
    from cappuccino_pipeline.paper import may_crown, paper_report  # noqa: PLC0415
    from cappuccino_pipeline.paper_page import draw_paper, metadata_of  # noqa: PLC0415

    cappuccino.watch(Step("paper session"))
    report, held_in = paper_report(cappuccino)
    folder = store_paper(cappuccino.configuration.trading_root / "reports", report)
    cappuccino.current.point("paper_trading_report", folder)
    version, decision = report.session.model_version, report.decision
    context.log.info(cappuccino.say(f"{report.session.label} of version {version}: {decision.sentence}"))
    crowned = may_crown(cappuccino, report) and crown_if_go(
        cappuccino.registry,
        version=version,
        outcome=decision.outcome,
        why=f"{decision.sentence} (report {folder.name})",
    )
    if crowned:
        said = f"version {version} is champion: {decision.sentence}"
        context.log.info(cappuccino.say(said))
        context.log_event(dg.AssetObservation("promoted_model", description=said, metadata={"report": folder.name}))
    facts = cappuccino.registry.facts(version)
    drawn = draw_paper(
        report,
        panel=cappuccino.panel(),
        held_in=held_in,
        facts=facts,
        folder=cappuccino.configuration.reports_root,
    )
    return dg.MaterializeResult(
        metadata={
            "decision": decision.outcome,
            "equity": picture(drawn.equity),
            "trades": picture(drawn.trades),
            **metadata_of(report, crowned=crowned, facts=facts),
            "page": dg.MetadataValue.path(str(drawn.page)),
            "folder": dg.MetadataValue.path(str(folder)),
            "session_folder": dg.MetadataValue.path(str(held_in)),
        }
    )
