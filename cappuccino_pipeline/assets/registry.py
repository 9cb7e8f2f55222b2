"""The registry stage: the best candidate with its evidence, as a new version in MLflow."""

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.training import training_dataset
from cappuccino_pipeline.assets.verdict import validation_report
from cappuccino_pipeline.jobs import NIGHTLY_TAG
from cappuccino_pipeline.metadata import OWNERS, mlflow_pages
from cappuccino_pipeline.resources import Cappuccino


@dg.asset(
    group_name="registry",
    deps=[validation_report],
    code_version=code_version("registry"),
    owners=OWNERS,
    kinds={"mlflow"},
    tags={"stage": "registry"},
)
def promoted_model(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The study's best candidate, registered with weights, configuration, schema and verdict, and no alias.

    Only a win makes it `challenger` by itself; a person may set, move or remove either alias in the MLflow UI.
    """
    from cappuccino_ml.registry import promote_if_won  # noqa: PLC0415
    from cappuccino_ml.study import load_study  # noqa: PLC0415
    from cappuccino_ml.verdict import load_report  # noqa: PLC0415
    from cappuccino_pipeline.model_card import card_of, evidence_of  # noqa: PLC0415

    dataset = cappuccino.dataset
    report = load_report(cappuccino.current.folder("validation_report"))
    study = load_study(cappuccino.current.folder("optuna_study"))
    finalist = cappuccino.finalists(study, dataset)[report.candidate]
    card = card_of(report=report, finalist=finalist, dataset=dataset, dagster_run_id=context.run.run_id)
    version = cappuccino.registry.register(
        finalist.folder,
        card=card,
        evidence=evidence_of(dataset=dataset, actor=finalist.actor, report=report),
        tags={"asset": "promoted_model", "verdict": cappuccino.current.folder("validation_report").name},
    )
    fresh_days = report.reading.fresh_bars / dataset.config.bars_per_year * 365
    promoted = promote_if_won(
        cappuccino.registry, version=version, verdict_outcome=report.verdict.outcome, fresh_days=fresh_days
    )
    cappuccino.current.name_version(version)
    facts = cappuccino.registry.facts(version)
    aliases = cappuccino.aliases()
    context.log.info(cappuccino.say(f"registered version {version}, aliases: {aliases or 'none'}"))
    return dg.MaterializeResult(
        metadata={
            "source": report.label,
            "version": version,
            "outcome": report.verdict.outcome,
            "became_challenger": promoted,
            "holdout_days_no_verdict_had_used": round(fresh_days, 1),
            "aliases": dg.MetadataValue.json(dict(aliases)),
            "model_key": card.key,
            "study_key": report.study_key,
            "data_manifest": card.data_manifest,
            **mlflow_pages(facts),
            "card": dg.MetadataValue.md(card.to_markdown()),
        }
    )


@dg.asset(
    group_name="registry",
    deps=[training_dataset],
    code_version=code_version("encoder", "policy", "study", "registry"),
    owners=OWNERS,
    kinds={"mlflow", "pytorch"},
    tags={"stage": "registry", **NIGHTLY_TAG},
)
def incumbent_refit(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """The configuration that trades now, refitted on the newest bars; registered without alias, scored in shadow.

    Nothing is promoted here: that takes a study with a fresh holdout, or a person.
    """
    from cappuccino_ml.policy import Actor  # noqa: PLC0415
    from cappuccino_ml.study import fit, fit_encoder, refit_jobs  # noqa: PLC0415
    from cappuccino_ml.trading import wanted  # noqa: PLC0415
    from cappuccino_pipeline.model_card import card_of_refit, evidence_of  # noqa: PLC0415

    choice = wanted(cappuccino.registry) if cappuccino.aliases() else None
    if choice is None:
        return dg.MaterializeResult(metadata={"status": "no alias is set, so there is no incumbent to refit"})
    alias, version = choice
    dataset = cappuccino.dataset
    encoder, job = refit_jobs(
        dataset,
        Actor.load(cappuccino.download(version)).config,
        pretraining=cappuccino.plan.encoder.pretraining,
        encoders_root=cappuccino.configuration.encoders_root,
        root=cappuccino.configuration.refits_root,
    )
    if encoder is not None:
        fit_encoder(encoder)
    result = fit(job)
    refitted = Actor.load(job.folder / "agent")
    card = card_of_refit(
        actor=refitted,
        result=result,
        incumbent=version,
        dataset=dataset,
        dagster_run_id=context.run.run_id,
    )
    made = cappuccino.registry.register(
        job.folder / "agent",
        card=card,
        evidence=evidence_of(dataset=dataset, actor=refitted, report=None),
        tags={"asset": "incumbent_refit", "shadow_of": version},
    )
    return dg.MaterializeResult(
        metadata={
            "status": f"version {made} is {alias} version {version} refitted; it has no alias",
            "source": dataset.config.label,
            "version": made,
            "shadow_sharpe": result.sharpe,
            "shadow_bars": result.bars,
            **mlflow_pages(cappuccino.registry.facts(made)),
        }
    )
