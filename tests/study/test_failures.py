"""Failures of trials: each is a named state with its traceback kept, and the study goes on."""

from pathlib import Path

import pytest

from cappuccino_ml.core import CappuccinoError, read_json
from cappuccino_ml.study import FitJob, FitResult, StudySettings, load_study
from cappuccino_ml.study import runner as module

from .conftest import SPACE, Lab
from .test_runner import PowerCutError, after, diverging, fake, journal, run


@pytest.mark.parametrize("number", [0, 1])
def test_defect_09_a_trial_with_a_diverged_fold_is_failed_and_never_averaged_or_best(
    number: int, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", diverging(number))
    lines: list[str] = []
    result = run(lab, tmp_path, say=lines.append)
    trial = result.trials[number]
    assert (trial.state, trial.value, trial.error) == ("failed", None, "PPO's loss is nan; lower it.")
    assert len(trial.fold_sharpes) == 1
    assert trial not in result.completed
    assert len(result.completed) == 3
    assert trial != result.best()
    assert result.best("mlp").number == (2 if number == 0 else result.best("mlp").number)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3]
    assert sum("failed: PPO's loss is nan" in line for line in lines) == 1
    assert load_study(tmp_path / result.key) == result


def test_a_side_whose_every_trial_failed_has_no_best_and_says_why(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: FitJob) -> FitResult:
        if job.training.agent.arm == "mlp":
            raise CappuccinoError("PPO's loss is nan; lower it.")
        return fake(job)

    monkeypatch.setattr(module, "fit", broken)
    result = run(lab, tmp_path)
    assert result.best().arm != "mlp"
    with pytest.raises(CappuccinoError, match=r"no mlp trial of study .* completed: PPO's loss is nan"):
        result.best("mlp")


def test_a_study_with_a_learning_rate_that_diverges_ends_with_failed_trials(lab: Lab, tmp_path: Path) -> None:
    # Without a bound on the gradient's norm every step has about the size of the learning rate.
    wild = SPACE.model_copy(update={"learning_rate": (1e30, 1e35), "steps": 1024})
    result = run(lab, tmp_path, settings=StudySettings(trials_per_side=1, space=wild))
    assert {trial.state for trial in result.trials} == {"failed"}
    assert all(trial.error and "lower" in trial.error and "\n" not in trial.error for trial in result.trials)


def test_any_failure_is_a_named_state_with_its_traceback_and_the_study_goes_on(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: FitJob) -> FitResult:
        if job.training.agent.arm == "ft_scratch":
            raise IndexError("off by one")
        return fake(job)

    monkeypatch.setattr(module, "fit", broken)
    result = run(lab, tmp_path)
    failed = result.trials[3]
    assert (failed.state, failed.value, failed.error) == ("failed", None, "IndexError: off by one")
    assert [trial.state for trial in result.trials[:3]] == ["complete"] * 3
    kept = read_json(tmp_path / result.key / "failures" / f"{failed.key}.json")
    assert kept["kind"] == "IndexError"
    for trace in (kept["traceback"], journal(tmp_path, result).trials[3].user_attrs["traceback"]):
        assert "in broken" in trace
        assert 'raise IndexError("off by one")' in trace


def test_a_failure_is_not_tried_again_after_an_interruption(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", diverging(0))
    with pytest.raises(PowerCutError):
        run(lab, tmp_path, say=after(2))
    monkeypatch.setattr(module, "fit", fake)  # it would succeed now; the study must not depend on when it was asked
    assert run(lab, tmp_path).trials[0].state == "failed"
