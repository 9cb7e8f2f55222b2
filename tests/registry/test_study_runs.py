"""A study in MLflow: a run per study and one per trial below it, each once, whenever the writing was interrupted."""

from pathlib import Path

import pytest

from cappuccino_ml.policy import TrainingSettings
from cappuccino_ml.registry import ModelRegistry, study_runs
from cappuccino_ml.study import Pruned, StudyResult, StudySettings, TrialResult


def made_trial(number: int, state: str) -> TrialResult:
    return TrialResult.model_validate(
        {
            "number": number,
            "arm": "mlp" if number % 2 == 0 else "ft_scratch",
            "state": state,
            "value": number + 0.5 if state == "complete" else None,
            "fold_sharpes": {"complete": (number, number + 1.0), "pruned": (-1.0,), "failed": ()}[state],
            "fold_jobs": (f"key-{number}",),
            "turnover_per_day": 0.25,
            "steps": 512,
            "parameters": 10,
            "params": {"gamma": 0.9, "benchmark": "none"},
            "training": TrainingSettings(),
            "pruned": Pruned(fold=0, value=-1.0, median=0.5, against=4) if state == "pruned" else None,
            "error": "PPO's loss is nan; lower it." if state == "failed" else None,
        }
    )


@pytest.fixture
def study() -> StudyResult:
    trials = tuple(
        made_trial(number, state) for number, state in enumerate(["complete", "complete", "pruned", "failed"])
    )
    return StudyResult(key="5f0c", dataset_key="d3ad", settings=StudySettings(trials_per_side=2), trials=trials)


def runs(registry: ModelRegistry, kind: str) -> list:
    client = registry._client()
    experiment = client.get_experiment_by_name("toy-studies").experiment_id
    return client.search_runs([experiment], f"tags.kind = '{kind}'", order_by=["attributes.start_time"])


def record(registry: ModelRegistry, study: StudyResult, folder: Path) -> str:
    picture = folder / "history.png"
    picture.write_bytes(b"png")
    return registry.record_study(study, pictures={"history": picture}, tags={"dagster_run_id": "run-1"})


def test_every_trial_has_its_state_its_folds_and_its_parameters(
    registry: ModelRegistry, study: StudyResult, tmp_path: Path
) -> None:
    url = record(registry, study, tmp_path)
    (parent,) = runs(registry, "study")
    assert url.endswith(f"/runs/{parent.info.run_id}")
    assert parent.data.metrics == {"complete": 2, "pruned": 1, "failed": 1, "best_mlp": 0.5, "best_ft_scratch": 1.5}
    assert parent.data.tags["dagster_run_id"] == "run-1"
    assert [path.path for path in registry._client().list_artifacts(parent.info.run_id)] == ["history.png"]
    below = {run.data.tags["trial_key"]: run for run in runs(registry, "trial")}
    assert {run.data.tags["mlflow.parentRunId"] for run in below.values()} == {parent.info.run_id}
    assert {key: run.info.status for key, run in below.items()} == {
        "key-0": "FINISHED",
        "key-1": "FINISHED",
        "key-2": "KILLED",
        "key-3": "FAILED",
    }
    first, pruned, failed = below["key-0"], below["key-2"], below["key-3"]
    assert first.data.params == {"arm": "mlp", "gamma": "0.9", "benchmark": "none"}
    assert first.data.metrics["net_sharpe"] == 0.5
    folds = registry._client().get_metric_history(first.info.run_id, "fold_sharpe")
    assert [(fold.step, fold.value) for fold in folds] == [(0, 0.0), (1, 1.0)]
    assert (pruned.data.metrics["pruned_at"], pruned.data.metrics["median_there"]) == (-1.0, 0.5)
    assert failed.data.tags["error"] == "PPO's loss is nan; lower it."


def test_an_interrupted_record_is_completed_and_a_finished_one_left_alone(
    registry: ModelRegistry, study: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = study_runs._record_trial

    def interrupted(client, experiment, trial, **more):  # type: ignore[no-untyped-def]
        if trial.number == 2:
            raise KeyboardInterrupt
        write(client, experiment, trial, **more)

    with monkeypatch.context() as patch:
        patch.setattr(study_runs, "_record_trial", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record(registry, study, tmp_path)
    first = record(registry, study, tmp_path)
    assert len(runs(registry, "trial")) == 4
    assert record(registry, study, tmp_path) == first
    assert (len(runs(registry, "study")), len(runs(registry, "trial"))) == (1, 4)
