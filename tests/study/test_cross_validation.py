"""Finalists through combinatorial splits: whole paths, nothing fitted on tested rows, kills change nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.core import CheckpointError
from cappuccino_ml.encoder import PretrainingSettings
from cappuccino_ml.environment import Guards
from cappuccino_ml.policy import AgentSettings, Arm, PPOSettings, TrainingSettings
from cappuccino_ml.study import (
    CrossValidation,
    CrossValidationSettings,
    TrialResult,
    combinatorial_splits,
    cross_validate,
)
from cappuccino_ml.study import cross_validation as module
from cappuccino_ml.study.cross_validation import CrossFitJob, cross_fit

from .conftest import ENCODER, LAYOUT, Lab, contents, freeze, poisoned

PRETRAINING = PretrainingSettings(epochs=1, batch_size=64)
SETTINGS = CrossValidationSettings(seeds=1, groups=3)


def trial(arm: Arm, number: int, **ppo: Any) -> TrialResult:
    return TrialResult(
        number=number,
        arm=arm,
        state="complete",
        value=1.0,
        fold_sharpes=(1.0, 1.0),
        fold_jobs=("a", "b"),
        turnover_per_day=0.1,
        steps=1,
        parameters=1,
        params={},
        training=TrainingSettings(
            agent=AgentSettings(arm=arm, lookback=2, net_dimension=16, encoder=None if arm == "mlp" else ENCODER),
            ppo=PPOSettings.model_validate({"steps": 256, "batch_size": 64, **ppo}),
            layout=LAYOUT,
            guards=Guards(dead_band=0.0),  # so little training leads to small actions only
        ),
    )


TRIALS = {"ft": trial("ft_pretrained", 1), "mlp": trial("mlp", 0)}


def run(lab: Lab, root: Path, **changes: Any) -> CrossValidation:
    values: dict[str, Any] = {
        "dataset": lab.dataset,
        "trials": TRIALS,
        "settings": SETTINGS,
        "pretraining": PRETRAINING,
        "seed": 7,
        "encoders_root": root / "encoders",
        "root": root / "cross",
        "workers": 1,
        "say": lambda line: None,
        **changes,
    }
    return cross_validate(values.pop("dataset"), values.pop("trials"), values.pop("settings"), **values)


@pytest.fixture(scope="module")
def done(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[CrossValidation, Path]:
    root = tmp_path_factory.mktemp("cross")
    return run(lab, root), root


def test_every_path_covers_all_development_rows_and_is_on_disk(done: tuple[CrossValidation, Path], lab: Lab) -> None:
    found, _ = done
    first, last = lab.dataset.splits.development
    assert (set(found.finalists), found.obstacles) == ({"ft", "mlp"}, ())
    assert (found.segments[0][0], found.segments[-1][1], len(found.segments)) == (first, last, 3)
    for paths in found.finalists.values():
        assert paths.returns.shape == (1, last - first, 2)
        assert np.isfinite(paths.returns).all()
        assert paths.returns.std() > 0
        stored = pd.read_parquet(paths.folder / "returns.parquet")
        np.testing.assert_array_equal(stored["seed 0, path 1"].to_numpy(), paths.returns[0, :, 1])
        assert stored["timestamp"].iloc[0] == lab.dataset.market.timestamps[first]


def test_a_killed_run_goes_on_to_the_same_bytes(done: tuple[CrossValidation, Path], lab: Lab, tmp_path: Path) -> None:
    found, root = done
    lines = 0

    class PowerCutError(BaseException):
        pass

    def say(line: str) -> None:
        nonlocal lines
        lines += 1
        if lines == 5:  # three encoders, then the second fit
            raise PowerCutError

    with pytest.raises(PowerCutError):
        run(lab, tmp_path, say=say)
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "cross").rglob("returns.parquet")}
    assert len(finished) == 2
    again = run(lab, tmp_path)
    assert finished.items() <= {p: p.stat().st_mtime_ns for p in (tmp_path / "cross").rglob("returns.parquet")}.items()
    assert contents(tmp_path / "cross") == contents(root / "cross")
    np.testing.assert_array_equal(again.finalists["ft"].returns, found.finalists["ft"].returns)


def test_defect_10_neither_agent_nor_encoder_sees_a_tested_row(lab: Lab, tmp_path: Path) -> None:
    """Other features and prices on the tested rows and around them: the weights that are measured stay the same."""
    dataset = lab.dataset
    split = combinatorial_splits(dataset.splits.development, gap=dataset.splits.gap, groups=3)[1]
    (first, last) = split.test[0]
    gap = dataset.splits.gap
    changed = freeze(tmp_path / "datasets", poisoned(dataset.market, rows=slice(first - gap + 2, last + gap)))
    weights = []
    for number, data in enumerate((dataset, changed)):
        (encoder,) = module._encoders(
            data, (split,), TRIALS["ft"], PRETRAINING, seed=7, root=tmp_path / f"encoders-{number}"
        )
        module.fit_encoder(encoder)
        job = made_job(data, split, tmp_path / str(number), encoder_folder=encoder.folder, encoder_key=encoder.key)
        actor = module._trained(job, data)
        weights.append({name: value.numpy().tobytes() for name, value in actor._agent.state_dict().items()})
    assert weights[0] == weights[1]


def made_job(dataset: Any, split: Any, root: Path, **changes: Any) -> CrossFitJob:
    values: dict[str, Any] = {
        "dataset_folder": dataset.folder,
        "dataset_key": dataset.key,
        "train": split.train,
        "test": split.test,
        "training": TRIALS["ft"].training,
        "seed": 3,
        "code": "c",
        "root": root,
    }
    return CrossFitJob(**{**values, **changes})


def test_an_encoder_that_saw_tested_rows_is_refused(lab: Lab, tmp_path: Path) -> None:
    split = combinatorial_splits(lab.dataset.splits.development, gap=lab.dataset.splits.gap, groups=3)[0]
    deployed = lab.encoders["deployment"]
    job = made_job(lab.dataset, split, tmp_path, encoder_folder=deployed.folder, encoder_key=deployed.key)
    with pytest.raises(CheckpointError, match="not all of them training rows of this split"):
        cross_fit(job)


def test_a_diverged_fit_is_said_and_its_finalist_has_no_paths(lab: Lab, tmp_path: Path) -> None:
    wild = {"mlp": trial("mlp", 0, learning_rate=1e30, steps=1024), "ft": TRIALS["ft"]}
    found = run(lab, tmp_path, trials=wild)
    assert set(found.finalists) == {"ft"}
    assert len(found.obstacles) == 1
    assert found.obstacles[0].startswith("mlp, seed 0, split 0: ")
    assert "lower" in found.obstacles[0]


def test_too_few_rows_or_no_seeds_are_an_answer_and_not_a_failure(lab: Lab, tmp_path: Path) -> None:
    assert "15 fits per finalist and seed" in run(lab, tmp_path, settings=CrossValidationSettings()).obstacles[0]
    (said,) = run(lab, tmp_path, settings=CrossValidationSettings(seeds=1, groups=12)).obstacles
    assert said.endswith("give a longer range of bars.")
    assert not (tmp_path / "cross").exists()


def test_two_seeds_are_two_trainings(lab: Lab, tmp_path: Path) -> None:
    found = run(lab, tmp_path, trials={"mlp": TRIALS["mlp"]}, settings=CrossValidationSettings(seeds=2, groups=3))
    returns = found.finalists["mlp"].returns
    assert returns.shape[0] == 2
    assert not np.array_equal(returns[0], returns[1])
