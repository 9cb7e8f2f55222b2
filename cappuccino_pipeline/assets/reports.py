"""The reports stage: comparisons that inform people and decide nothing; run by jobs of their own, not by `research`."""

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.training import pretrained_encoder
from cappuccino_pipeline.metadata import OWNERS, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino


@dg.asset(
    group_name="reports",
    deps=[pretrained_encoder],
    code_version=code_version("features", "environment", "encoder", "policy", "study", "verdict"),
    owners=OWNERS,
    kinds={"pytorch"},
    tags={"stage": "reports"},
)
def ab_comparison(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """Sample efficiency of mlp, ft_scratch and ft_pretrained: net Sharpe after so many steps, several seeds each.

    Trained and measured on the last fold, so no holdout is used up. Nothing is tuned per arm.
    """
    from cappuccino_ml.core import write_json  # noqa: PLC0415
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import comparison_jobs, encoder_jobs, fit_encoder, run_comparison  # noqa: PLC0415
    from cappuccino_ml.verdict import sample_efficiency  # noqa: PLC0415

    configuration, dataset, settings = cappuccino.configuration, cappuccino.dataset, cappuccino.plan.comparison
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
        say=lambda line: context.log.info(cappuccino.say(line)),
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
            "differences": dg.MetadataValue.md("\n".join(f"- {one.sentence}" for one in judged.differences)),
            "bars_measured": judged.bars,
            "encoder_masked_r2": round(judged.encoder_r2[0], 3),
            "curves": picture(pictures.sample_efficiency(judged=judged, path=reports / "ab_comparison.png")),
            "result": dg.MetadataValue.path(str(reports / "ab_comparison.json")),
        }
    )
