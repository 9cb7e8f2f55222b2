"""The bars of every completed trial, read back from its folder and put in order of time."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.core import LakeError
from cappuccino_ml.policy import Actor
from cappuccino_ml.study import StudyResult, StudySettings, measure, read_paths, run_study

from .conftest import SPACE, Lab


@pytest.fixture(scope="module")
def done(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, Path]:
    root = tmp_path_factory.mktemp("studies")
    settings = StudySettings(trials_per_side=1, space=SPACE)
    result = run_study(lab.dataset, settings, encoders=lab.encoders, root=root, workers=1, say=lambda _: None)
    return result, root / result.key


def test_a_trials_path_is_its_folds_one_after_the_other(done: tuple[StudyResult, Path], lab: Lab) -> None:
    study, folder = done
    folds = lab.dataset.splits.folds
    paths = read_paths(folder, study=study, folds=folds)
    assert paths.numbers == (0, 1)
    assert paths.fold_bars == tuple(fold.test[1] - fold.test[0] for fold in folds)
    for column, trial in enumerate(study.completed):
        runs = [
            measure(Actor.load(folder / "trials" / key / "agent"), lab.dataset.market, fold.test)
            for key, fold in zip(trial.fold_jobs, folds, strict=True)
        ]
        for name, values in (("returns", [run.returns for run in runs]), ("turnover", [run.turnover for run in runs])):
            np.testing.assert_array_equal(getattr(paths, name)[:, column], np.concatenate(values))
        np.testing.assert_array_equal(paths.exposure[:, column], np.concatenate([run.weights.sum(-1) for run in runs]))


def test_a_failed_trial_has_no_path(done: tuple[StudyResult, Path], lab: Lab) -> None:
    study, folder = done
    failed = study.trials[0].model_copy(update={"state": "failed", "value": None, "error": "diverged"})
    other = study.model_copy(update={"trials": (failed, study.trials[1])})
    assert read_paths(folder, study=other, folds=lab.dataset.splits.folds).numbers == (1,)


def test_missing_or_foreign_bars_are_refused_with_the_way_out(
    done: tuple[StudyResult, Path], lab: Lab, tmp_path: Path
) -> None:
    study, folder = done
    copy, folds = tmp_path / "copy", lab.dataset.splits.folds
    shutil.copytree(folder, copy)
    place = copy / "trials" / study.trials[1].fold_jobs[1]
    pd.read_parquet(place / "returns.parquet").iloc[1:].to_parquet(place / "returns.parquet")
    with pytest.raises(LakeError, match="delete the study's folder"):
        read_paths(copy, study=study, folds=folds)
    (place / "DONE").unlink()
    with pytest.raises(LakeError, match="a fold of trial 1, is not finished; materialize optuna_study again"):
        read_paths(copy, study=study, folds=folds)
