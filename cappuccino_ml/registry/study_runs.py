"""Studies in MLflow: one run per study and one below it per trial, with parameters, folds, state and keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cappuccino_ml.study import StudyResult, TrialResult  # the study room imports torch and optuna

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_PARENT = "mlflow.parentRunId"


def record_study(
    client: Any, *, experiment: str, study: "StudyResult", pictures: Mapping[str, Path], tags: Mapping[str, str]
) -> str:
    """Write a finished study to an experiment -> its run's id. What an earlier call has written is not written again.

    Args:
        client: an `MlflowClient`.
        experiment: id.
        study: all its trials; a pruned one is shown as killed.
        pictures: by name, kept with the study's run.
        tags: of the study's run.
    """
    known = client.search_runs([experiment], f"tags.study_key = '{study.key}' and tags.kind = 'study'")
    if known:
        parent, status = known[0].info.run_id, known[0].info.status
        if status == "FINISHED":
            return str(parent)
    else:
        names = {**tags, "kind": "study", "study_key": study.key, "dataset_key": study.dataset_key}
        parent = client.create_run(experiment, run_name=f"study {study.key}", tags=names).info.run_id
    below = client.search_runs([experiment], f"tags.`{_PARENT}` = '{parent}'", max_results=50_000)
    written = {run.data.tags["trial_key"] for run in below if run.info.status != "RUNNING"}
    for trial in study.trials:
        if trial.key not in written:
            _record_trial(client, experiment, trial, parent=parent, study=study.key)
    settings = study.settings
    figures: dict[str, float] = {state: study.count(state) for state in ("complete", "pruned", "failed")}
    for trial in study.completed:
        name = f"best_{trial.arm}"
        figures[name] = max(figures.get(name, trial.value or 0.0), trial.value or 0.0)
    about = {
        "trials": len(study.trials),
        "search": settings.search,
        "seed": settings.seed,
        "steps": settings.space.steps,
    }
    if settings.narrowing:
        client.log_dict(parent, settings.narrowing.model_dump(mode="json"), "narrowing.json")
    _log(client, parent, metrics=[(name, value, 0) for name, value in figures.items()], params=about)
    for path in pictures.values():
        client.log_artifact(parent, str(path))
    client.set_terminated(parent)
    return str(parent)


def _record_trial(client: Any, experiment: str, trial: "TrialResult", *, parent: str, study: str) -> None:
    tags = {
        _PARENT: parent,
        "kind": "trial",
        "study_key": study,
        "trial_key": trial.key,
        "trial": str(trial.number),
        "arm": trial.arm,
        "state": trial.state,
    }
    if trial.error:
        tags["error"] = trial.error
    run = client.create_run(experiment, run_name=f"#{trial.number} {trial.arm}", tags=tags).info.run_id
    metrics: list[tuple[str, float, int]] = [
        ("fold_sharpe", sharpe, index) for index, sharpe in enumerate(trial.fold_sharpes)
    ]
    metrics += [("turnover_per_day", trial.turnover_per_day, 0), ("environment_steps", trial.steps, 0)]
    if trial.value is not None:
        metrics.append(("net_sharpe", trial.value, 0))
    if trial.pruned:
        metrics += [("pruned_at", trial.pruned.value, 0), ("median_there", trial.pruned.median, 0)]
    _log(client, run, metrics=metrics, params={"arm": trial.arm, **trial.params})
    client.set_terminated(run, status=_STATUS[trial.state])


def _log(client: Any, run: str, *, metrics: list[tuple[str, float, int]], params: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric, Param  # noqa: PLC0415 - 2 s and 170 MB: only when needed

    client.log_batch(
        run,
        metrics=[Metric(name, float(value), 0, step) for name, value, step in metrics],
        params=[Param(name, str(value)) for name, value in params.items()],
    )
