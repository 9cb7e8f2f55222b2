"""The study stage: the Optuna A/B study, and the finalists refitted on all development rows."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from cappuccino_ml.core import code_version
from cappuccino_pipeline.assets.training import pretrained_encoder
from cappuccino_pipeline.metadata import OWNERS, Table, link, markdown_table, picture
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.stage_bar import Step

if TYPE_CHECKING:
    from cappuccino_ml.policy import Iteration
    from cappuccino_ml.study import Importance, Narrowing, Progress, StudyResult


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
    from cappuccino_ml.study import (  # noqa: PLC0415
        encoder_jobs,
        finalist_job,
        fit,
        importances,
        read_learning_curve,
        resolve,
        run_jobs,
        run_study,
    )

    configuration, dataset = cappuccino.configuration, cappuccino.dataset
    encoders = encoder_jobs(dataset, cappuccino.plan.encoder, root=configuration.encoders_root)
    root = configuration.studies_root
    settings = resolve(cappuccino.plan.study, dataset, studies=root, datasets=configuration.datasets_root)
    sides, folds = settings.trials_per_side, len(dataset.splits.folds)
    context.log.info(cappuccino.say(f"study: {sides} FT and {sides} mlp trials on {folds} folds each"))

    def watch(progress: "Progress") -> None:
        context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata=_progress(progress)))
        context.log.info(progress.sentence)
        cappuccino.watch(step_of(progress))

    cappuccino.watch(Step("trial", 0, 2 * sides))
    study = run_study(
        dataset,
        settings,
        encoders=encoders,
        root=root,
        workers=configuration.workers,
        say=lambda line: context.log.info(cappuccino.say(line)),
        watch=watch,
    )
    folder = root / study.key
    finalists = {
        side: finalist_job(dataset, study, study.best(side), encoders=encoders, root=root) for side in ("ft", "mlp")
    }
    cappuccino.watch(Step("finalist", 0, len(finalists)))
    for done, (job, _) in enumerate(run_jobs(fit, finalists.values(), workers=configuration.workers), start=1):
        count = f"finalist {done}/{len(finalists)}"
        context.log.info(cappuccino.say(f"{count}  {job.training.agent.arm} refitted on all development rows"))
    cappuccino.current.point("optuna_study", folder)
    label, reports = dataset.config.label, configuration.reports_root
    curves: dict[str, list[list[Iteration]]] = {}
    for trial in study.completed:
        curves.setdefault(trial.arm, []).extend(read_learning_curve(folder / "trials" / key) for key in trial.fold_jobs)
    found = importances(folder, seed=settings.seed)
    drawn = pictures.study_pictures(study, found, label=label, folder=reports)
    drawn["learning_curves"] = pictures.learning_curves(
        curves=curves, label=label, path=reports / "learning_curves.png"
    )
    tags = {"dagster_run_id": context.run.run_id, "asset": "optuna_study", "source": label}
    page = cappuccino.registry.record_study(study, pictures=drawn, tags=tags)
    return dg.MaterializeResult(
        metadata={
            "source": label,
            "study_key": study.key,
            **{state: study.count(state) for state in ("complete", "pruned", "failed")},
            "best_ft_sharpe": round(study.best("ft").value or 0.0, 2),
            "best_mlp_sharpe": round(study.best("mlp").value or 0.0, 2),
            "trials": _trials(study),
            "importance": _importances(found),
            "search": settings.search,
            "ranges": dg.MetadataValue.json(settings.space.model_dump(mode="json")),
            "ranges_from": _narrowing(settings.narrowing),
            **{name: picture(path) for name, path in drawn.items()},
            "mlflow_run": link(f"study {study.key}", page),
            "folder": dg.MetadataValue.path(str(folder)),
        }
    )


def step_of(progress: "Progress") -> Step:
    """A study's progress for a bar: its counts stand there already."""
    return Step("trial", progress.done, progress.total, progress.sentence.split(" trials, ", 1)[1])


def _progress(progress: "Progress") -> dict[str, Any]:
    best = {f"best_{arm}_sharpe": round(trial.value, 2) for arm, trial in progress.best.items()}
    counts = progress.model_dump(include={"total", "completed", "pruned", "failed", "workers"})
    pace = {"trials_per_minute": progress.per_minute, "seconds_left": progress.seconds_left}
    return {"study_key": progress.study, **counts, **{k: round(v, 2) for k, v in pace.items() if v is not None}, **best}


def _trials(study: "StudyResult") -> Table:
    header = ["trial", "arm", "state", "net Sharpe", "folds", "turnover/day", "steps", "why", "key"]
    return markdown_table(
        header,
        [
            [
                trial.number,
                trial.arm,
                trial.state,
                "" if trial.value is None else f"{trial.value:+.2f}",
                ", ".join(f"{sharpe:+.2f}" for sharpe in trial.fold_sharpes),
                f"{trial.turnover_per_day:.2f}",
                f"{trial.steps:,}",
                trial.error or (f"below the median {trial.pruned.median:+.2f}" if trial.pruned else ""),
                trial.key,
            ]
            for trial in study.trials
        ],
    )


def _importances(found: "tuple[Importance, ...]") -> Table:
    header = ["parameter", "importance", "95% of chance", "trials"]
    return markdown_table(header, [[one.name, f"{one.value:.0%}", f"{one.chance:.0%}", one.trials] for one in found])


def _narrowing(found: "Narrowing | None") -> Table:
    header = ["study", "trial", "key", "arm", "net Sharpe"]
    rows = [[one.study, one.trial, one.key, one.arm, f"{one.value:+.2f}"] for one in (found.winners if found else ())]
    return markdown_table(header, rows)
