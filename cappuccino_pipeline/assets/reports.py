"""The reports stage: what informs people and decides nothing."""

import dagster as dg
from pydantic import Field

from cappuccino_ml.core import ConfigurationError, code_version
from cappuccino_pipeline.assets.study import optuna_study
from cappuccino_pipeline.assets.training import pretrained_encoder
from cappuccino_pipeline.metadata import OWNERS, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino

_EXPLAINED = "attention_report.json"
_EXPLAINED_ROWS = 2_000  # the newest a finalist was fitted on: some hundred positions, and seconds to trade through


class ArmsConfig(dg.Config):
    """What may be chosen in the launch form. What was trained before is not trained again."""

    mlp: bool = Field(default=True, description="the plain network")
    ft_scratch: bool = Field(default=True, description="the encoder, learned with the policy")
    ft_pretrained: bool = Field(default=True, description="the pre-trained encoder, fine-tuned")


@dg.asset(
    group_name="reports",
    deps=[pretrained_encoder],
    code_version=code_version("features", "environment", "encoder", "policy", "study", "verdict"),
    owners=OWNERS,
    kinds={"pytorch"},
    tags={"stage": "reports"},
)
def ab_comparison(
    context: dg.AssetExecutionContext, config: ArmsConfig, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """Sample efficiency of mlp, ft_scratch and ft_pretrained: net Sharpe after so many steps, several seeds each.

    Trained and measured on the last fold, so no holdout is used up. Nothing is tuned per arm.
    """
    from cappuccino_ml.core import write_json  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import comparison_jobs, encoder_jobs, fit_encoder, run_comparison  # noqa: PLC0415
    from cappuccino_ml.verdict import sample_efficiency  # noqa: PLC0415

    configuration, dataset, settings = cappuccino.configuration, cappuccino.dataset, cappuccino.plan.comparison
    arms = tuple(arm for arm in settings.arms if getattr(config, arm))
    if not arms:
        raise ConfigurationError(
            f"no arm of {', '.join(settings.arms)} is chosen, so nothing can be compared; choose one."
        )
    settings = settings.model_copy(update={"arms": arms})
    folds = dataset.splits.folds
    encoders = encoder_jobs(dataset, cappuccino.plan.encoder, root=configuration.encoders_root)
    encoder = encoders[f"fold-{len(folds) - 1}"]
    root = configuration.comparisons_root
    comparison = run_comparison(
        [comparison_jobs(dataset, settings, encoder=encoder, fold=folds[-1], root=root)],
        settings,
        label=dataset.config.label,
        encoder_r2={dataset.key: fit_encoder(encoder).config.skill.r2["model"]},
        bars_per_year=dataset.config.bars_per_year,
        workers=configuration.workers,
        say=lambda line: context.log.info(cappuccino.say(f"comparison {line}")),
    )
    judged = sample_efficiency(comparison, root=root, seed=settings.seed)
    reports = configuration.reports_root
    write_json(reports / "ab_comparison.json", judged)
    rows = [
        [
            point.arm,
            f"{point.steps:,}",
            f"{point.mean:+.2f}",
            "" if point.over_seeds is None else f"{point.over_seeds[0]:+.2f} to {point.over_seeds[1]:+.2f}",
            ", ".join(f"{sharpe:+.2f}" for sharpe in point.sharpes),
            f"{point.turnover_per_day:.2f}",
            f"{point.parameters:,}",
        ]
        for point in judged.points
    ]
    header = ["arm", "steps", "net Sharpe, mean", "95% over seeds", "runs", "turnover/day", "parameters"]
    return dg.MaterializeResult(
        metadata={
            "source": judged.label,
            "claim": judged.claim,
            "sharpe_by_arm_and_steps": markdown_table(header, rows),
            "differences": dg.MetadataValue.md(
                "\n".join(f"- {one.sentence}" for one in judged.differences) or "none: that takes two arms"
            ),
            "bars_measured": judged.bars,
            "encoder_masked_r2": round(judged.encoder_r2[0], 3),
            "curves": picture(pictures.sample_efficiency(judged=judged, path=reports / "ab_comparison.png")),
            "result": dg.MetadataValue.path(str(reports / "ab_comparison.json")),
        }
    )


@dg.asset(
    group_name="reports",
    deps=[optuna_study],
    code_version=code_version("features", "environment", "encoder", "policy", "reports"),
    owners=OWNERS,
    kinds={"pytorch"},
    tags={"stage": "reports"},
)
def attention_report(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """Which ticker and which feature drive the decisions of the study's finalists, and where the encoder looks.

    Measured on the newest rows they were fitted on, with the books they hold there: no holdout is read.
    """
    from cappuccino_ml.core import write_json  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.reports.attribution import AttributionJob, explain  # noqa: PLC0415
    from cappuccino_ml.study import load_study  # noqa: PLC0415

    configuration, dataset = cappuccino.configuration, cappuccino.dataset
    folder = cappuccino.current.folder("optuna_study")
    study = load_study(folder)
    first, last = dataset.splits.development
    rows = (max(first, last - _EXPLAINED_ROWS), last)
    found = {}
    finalists = cappuccino.finalists(study, dataset)
    for side, finalist in finalists.items():
        job = AttributionJob(
            agent_folder=finalist.folder,
            agent_key=finalist.actor.key,
            dataset_key=dataset.key,
            rows=rows,
            seed=configuration.seed,
            root=folder / "attributions",
        )
        found[side] = explain(job, dataset.market)
        lead = found[side].drivers(1)[0]
        told = f"what moves {found[side].arm} most: {lead.ticker} {lead.feature} ({lead.share:.1%})"
        context.log.info(cappuccino.say(f"attribution {len(found)}/{len(finalists)}  {told}"))
    reports = configuration.reports_root
    write_json(reports / _EXPLAINED, {side: one.model_dump(mode="json") for side, one in found.items()})
    sides = [found["mlp"], found["ft"]]
    label = dataset.config.label
    series = [[f"{one.ticker} {one.feature}, {one.share:.1%}" for one in side.drivers()] for side in sides]
    features = [[f"{name}, {share:.1%}" for name, share in side.by_feature().items()][:5] for side in sides]
    facts = [
        [one.arm, one.moments, f"{one.completeness_error:.2%}", one.steps, f"{sum(one.change) / len(one.change):.3f}"]
        for one in sides
    ]
    arms = [side.arm for side in sides]
    return dg.MaterializeResult(
        metadata={
            "source": label,
            "top_five_drivers": markdown_table(arms, [*zip(*series, strict=True)]),
            "top_five_features": markdown_table(arms, [*zip(*features, strict=True)]),
            "how_well_they_add_up": markdown_table(
                ["arm", "moments", "missing of the actions' change", "points on the path", "mean change of an action"],
                facts,
            ),
            "rows": f"{dataset.time(rows[0]):%Y-%m-%d %H:%M} to {dataset.time(rows[1]):%Y-%m-%d %H:%M} UTC",
            "drivers": picture(pictures.drivers(attributions=sides, label=label, path=reports / "drivers.png")),
            "result": dg.MetadataValue.path(str(reports / _EXPLAINED)),
        }
    )


@dg.asset_check(asset=attention_report)
def attributions_add_up(cappuccino: dg.ResourceParam[Cappuccino]) -> dg.AssetCheckResult:
    """Attributions sum to what the actions differ by from those at the mean of all features, or they mean little."""
    from cappuccino_ml.core import read_json  # noqa: PLC0415
    from cappuccino_ml.reports.attribution import TOLERANCE, Attribution  # noqa: PLC0415

    stored = read_json(cappuccino.configuration.reports_root / _EXPLAINED)
    found = [Attribution.model_validate(one) for one in stored.values()]
    return dg.AssetCheckResult(
        passed=all(one.adds_up for one in found),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"limit": TOLERANCE, **{f"missing_{one.arm}": round(one.completeness_error, 4) for one in found}},
    )
