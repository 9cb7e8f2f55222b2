"""Trials are counted where they were measured: a study that failed or was stopped has used up bars all the same."""

from pathlib import Path

import pytest

from cappuccino_ml.core import write_json
from cappuccino_ml.study import StudySettings, bars_identity, measured_trials, run_study
from cappuccino_ml.study.splits import make_splits

from .conftest import SPACE, SPLITS, Lab, freeze


class PowerCutError(BaseException):
    """Nothing may catch it."""


def stop(_line: str) -> None:
    raise PowerCutError


def test_a_study_that_was_stopped_counts_by_the_trials_it_measured(lab: Lab, tmp_path: Path) -> None:
    dataset = lab.dataset
    where = {"datasets_root": dataset.folder.parent, "data": bars_identity(dataset.config.model_dump(mode="json"))}
    assert measured_trials(tmp_path, **where) == {}
    settings = StudySettings(trials_per_side=1, generation=1, space=SPACE)
    arguments = {"encoders": lab.encoders, "root": tmp_path, "workers": 1}
    with pytest.raises(PowerCutError):
        run_study(dataset, settings, **arguments, say=stop)
    (stopped,) = [path.name for path in tmp_path.iterdir()]
    assert measured_trials(tmp_path, **where) == {stopped: 1}
    run_study(dataset, settings, **arguments, say=lambda _: None)
    other = run_study(dataset, settings.model_copy(update={"seed": 8}), **arguments, say=lambda _: None)
    assert measured_trials(tmp_path, **where) == {stopped: 2, other.key: 2}


def test_folds_of_one_trial_are_one_trial_and_unfinished_ones_none(tmp_path: Path) -> None:
    for key, training, done in (("a", 1, True), ("b", 1, True), ("c", 2, True), ("d", 3, False)):
        write_json(tmp_path / "s" / "trials" / key / "job.json", {"dataset_key": "gone", "training": training})
        if done:
            (tmp_path / "s" / "trials" / key / "DONE").touch()
    # Its data set is gone, so it may have been these bars.
    assert measured_trials(tmp_path, datasets_root=tmp_path / "none", data={}) == {"s": 2}


def test_other_bars_are_not_counted_and_another_shape_of_these_is(lab: Lab, tmp_path: Path) -> None:
    market = lab.dataset.market
    splits = make_splits(len(market), SPLITS.model_copy(update={"holdout_share": 0.2}))
    shaped = freeze(
        tmp_path / "datasets", market, splits=splits, source={"seed": 7, "built_from": "1h", "name": "simulated"}
    )
    other = freeze(tmp_path / "datasets", market, source={"name": "simulated", "seed": 8})
    for name, dataset in (("shaped", shaped), ("other", other)):
        folder = tmp_path / "studies" / name / "trials" / "a"
        write_json(folder / "job.json", {"dataset_key": dataset.key, "training": 1})
        (folder / "DONE").touch()
    data = bars_identity(lab.dataset.config.model_dump(mode="json"))
    assert measured_trials(tmp_path / "studies", datasets_root=tmp_path / "datasets", data=data) == {"shaped": 1}
