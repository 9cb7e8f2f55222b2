"""Pruning: as Optuna's median pruner, but blind to the present generation, within a side, with its evidence kept."""

from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cappuccino_ml.policy import TrainingSettings
from cappuccino_ml.study import FitJob, StudyResult, StudySettings, TrialResult, judge_pruning, run_study
from cappuccino_ml.study import runner as module

from .conftest import SPACE, Lab
from .test_runner import fake, journal, quiet

SHARPES = st.floats(-5, 5, allow_nan=False)
SETTINGS = StudySettings(trials_per_side=6, generation=4, prune_after=2, space=SPACE)


def completed(number: int, *sharpes: float, arm: str = "mlp") -> TrialResult:
    return TrialResult.model_validate(
        {
            "number": number,
            "arm": arm,
            "state": "complete",
            "value": sum(sharpes) / len(sharpes),
            "fold_sharpes": sharpes,
            "fold_jobs": [f"{number}-{index}" for index in range(len(sharpes))],
            "turnover_per_day": 0.0,
            "steps": 1,
            "parameters": 1,
            "params": {},
            "training": TrainingSettings(),
        }
    )


@given(st.lists(st.tuples(SHARPES, SHARPES), min_size=1, max_size=9), SHARPES)
def test_after_the_first_fold_it_decides_as_optunas_median_pruner(
    earlier: list[tuple[float, float]], value: float
) -> None:
    trials = [completed(number, *sharpes) for number, sharpes in enumerate(earlier)]
    ours = judge_pruning([value], side="mlp", folds=2, earlier=trials, prune_after=2)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(value=trial.value, intermediate_values=dict(enumerate(trial.means)))
            for trial in trials
        ]
    )
    trial = study.ask()
    trial.report(value, 0)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)
    assert (ours is not None) == pruner.prune(study, study.get_trials()[-1])


def test_only_the_same_side_and_enough_of_it_can_prune() -> None:
    good = [completed(number, 3.0, 3.0, arm="ft_scratch") for number in range(9)]
    assert judge_pruning([-1.0], side="mlp", folds=2, earlier=good, prune_after=2) is None
    assert judge_pruning([-1.0], side="ft", folds=2, earlier=good[:1], prune_after=2) is None
    assert judge_pruning([-1.0], side="ft", folds=2, earlier=good, prune_after=None) is None
    assert judge_pruning([-1.0, -1.0], side="ft", folds=2, earlier=good, prune_after=2) is None, (
        "nothing is left to save"
    )
    pruned = judge_pruning([-1.0], side="ft", folds=2, earlier=good, prune_after=2)
    assert pruned is not None
    assert (pruned.fold, pruned.value, pruned.median, pruned.against) == (0, -1.0, 3.0, 9)


@pytest.fixture
def pruned_study(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[StudyResult, list[FitJob]]:
    jobs: list[FitJob] = []
    monkeypatch.setattr(module, "fit", lambda job: (jobs.append(job), fake(job))[1])
    result = run_study(lab.dataset, SETTINGS, encoders=lab.encoders, root=tmp_path, workers=1, say=quiet)
    return result, jobs


def test_pruned_trials_keep_their_evidence_are_counted_and_are_never_best(
    pruned_study: tuple[StudyResult, list[FitJob]], tmp_path: Path
) -> None:
    result, jobs = pruned_study
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert result.count("pruned") + result.count("complete") == result.tried == len(result.trials) == 12
    assert len(result.completed) == 12 - len(pruned)
    assert len(jobs) == 2 * 12 - len(pruned), "a pruned trial's second fold is not run"
    recorded = journal(tmp_path, result).trials
    for trial in pruned:
        earlier = [t for t in result.trials[: trial.number // 4 * 4] if t.side == trial.side]
        assert trial.pruned == judge_pruning(
            trial.fold_sharpes, side=trial.side, folds=2, earlier=earlier, prune_after=2
        ), "it is judged by completed generations only"
        assert trial.value is None
        assert trial not in result.completed
        assert recorded[trial.number].state == optuna.trial.TrialState.PRUNED
        assert recorded[trial.number].user_attrs["pruned"]["median"] == trial.pruned.median


def test_the_first_generation_is_never_pruned(pruned_study: tuple[StudyResult, list[FitJob]]) -> None:
    assert {trial.state for trial in pruned_study[0].trials[:4]} == {"complete"}


def test_the_order_in_which_folds_end_does_not_change_a_study(
    pruned_study: tuple[StudyResult, list[FitJob]], lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LastFirst(module.Workers):
        def run(self, function, queue, *, lost=None):  # type: ignore[no-untyped-def]
            while queue:
                job = queue.pop()
                yield job, function(job)

    monkeypatch.setattr(module, "Workers", LastFirst)
    other = run_study(lab.dataset, SETTINGS, encoders=lab.encoders, root=tmp_path / "other", workers=1, say=quiet)
    assert other == pruned_study[0]


def test_a_pruned_studys_result_survives_its_file(
    pruned_study: tuple[StudyResult, list[FitJob]], tmp_path: Path
) -> None:
    result, _ = pruned_study
    assert StudyResult.model_validate_json((tmp_path / result.key / "study.json").read_text()) == result
