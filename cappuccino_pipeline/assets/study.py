"""The study stage: the Optuna A/B study, and the finalists refitted on all development rows."""

from typing import TYPE_CHECKING

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.training import pretrained_encoder
from cappuccino_pipeline.metadata import OWNERS, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino

if TYPE_CHECKING:
    from cappuccino_ml.policy import Iteration


@dg.asset(
    group_name="study",
    deps=[pretrained_encoder],
    code_version=code_version("features", "environment", "encoder", "policy", "study"),
    owners=OWNERS,
    kinds={"optuna", "pytorch"},
    tags={"stage": "study"},
)
def optuna_study(
    context: dg.AssetExecutionContext, cappuccino: dg.ResourceParam[Cappuccino]
) -> dg.MaterializeResult[None]:
    """PPO with an FT-Transformer against PPO with an MLP: as many trials each, on the same purged folds and steps."""
    from cappuccino_ml.reports import pictures  # noqa: PLC0415
    from cappuccino_ml.study import encoder_jobs, finalist_job, fit, read_learning_curve, run_jobs, run_study  # noqa: PLC0415

    configuration, dataset = cappuccino.configuration, cappuccino.dataset
    encoders = encoder_jobs(dataset, cappuccino.plan.encoder, root=configuration.encoders_root)
    sides = cappuccino.plan.study.trials_per_side
    folds = len(dataset.splits.folds)
    context.log.info(cappuccino.say(f"study: {sides} FT and {sides} mlp trials on {folds} folds each"))
    study = run_study(
        dataset,
        cappuccino.plan.study,
        encoders=encoders,
        root=configuration.studies_root,
        workers=configuration.workers,
        say=lambda line: context.log.info(cappuccino.say(line)),
    )
    folder = configuration.studies_root / study.key
    finalists = {
        side: finalist_job(dataset, study, study.best(side), encoders=encoders, root=configuration.studies_root)
        for side in ("ft", "mlp")
    }
    for job, _ in run_jobs(fit, finalists.values(), workers=configuration.workers):
        context.log.info(cappuccino.say(f"finalist {job.training.agent.arm} refitted on all development rows"))
    cappuccino.current.point("optuna_study", folder)
    label, reports = dataset.config.label, configuration.reports_root
    curves: dict[str, list[list[Iteration]]] = {}
    for trial in study.completed:
        curves.setdefault(trial.arm, []).extend(read_learning_curve(folder / "trials" / key) for key in trial.fold_jobs)
    header = ["trial", "arm", "state", "net Sharpe", "folds", "turnover/day", "environment steps"]
    rows = [
        [
            trial.number,
            trial.arm,
            trial.state,
            "" if trial.value is None else f"{trial.value:+.2f}",
            ", ".join(f"{sharpe:+.2f}" for sharpe in trial.fold_sharpes),
            f"{trial.turnover_per_day:.2f}",
            f"{trial.steps:,}",
        ]
        for trial in study.trials
    ]
    return dg.MaterializeResult(
        metadata={
            "source": label,
            "study_key": study.key,
            "completed": len(study.completed),
            "failed": len(study.trials) - len(study.completed),
            "best_ft_sharpe": round(study.best("ft").value or 0.0, 2),
            "best_mlp_sharpe": round(study.best("mlp").value or 0.0, 2),
            "trials": markdown_table(header, rows),
            "history": picture(pictures.study_history(study=study, label=label, path=reports / "study_history.png")),
            "learning_curves": picture(
                pictures.learning_curves(curves=curves, label=label, path=reports / "learning_curves.png")
            ),
            "folder": dg.MetadataValue.path(str(folder)),
        }
    )
