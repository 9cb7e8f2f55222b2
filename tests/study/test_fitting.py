"""One job: train on its rows, measure on later ones, done once, the same bytes wherever it is done."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cappuccino_ml.core import CappuccinoError, CheckpointError, DataError
from cappuccino_ml.features import MarketTable, Scaler
from cappuccino_ml.policy import Actor, Arm
from cappuccino_ml.policy.resume import Run
from cappuccino_ml.study import EncoderJob, fit, fit_encoder, load_dataset, measure, read_learning_curve, read_returns

from .conftest import ENCODER, Lab, MakeJob, contents, freeze, poisoned


@pytest.mark.parametrize("arm", ["mlp", "ft_scratch", "ft_pretrained"])
def test_two_fits_of_one_job_are_the_same_bytes(arm: Arm, make_job: MakeJob, tmp_path: Path) -> None:
    one, other = (make_job(arm, root=tmp_path / name) for name in ("a", "b"))
    assert fit(one) == fit(other)
    assert contents(one.folder) == contents(other.folder)
    assert {"agent/weights.safetensors", "agent/agent.json", "returns.parquet", "result.json", "DONE"} <= set(
        contents(one.folder)
    )


def test_a_finished_job_is_only_read(make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(make_job())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr("cappuccino_ml.study.fitting.train", lambda *_, **__: pytest.fail("trained again"))
    assert fit(make_job()) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_key_ignores_folders_and_nothing_else(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("ft_pretrained")
    moved = job.model_copy(update=dict.fromkeys(("dataset_folder", "encoder_folder", "root"), tmp_path / "elsewhere"))
    assert moved.key == job.key
    changes = [
        {"dataset_key": "other"},
        {"encoder_key": "other"},
        {"train_rows": (303, 600)},
        {"test_rows": None},
        {"seed": 2},
        {"code": "other"},
    ]
    assert len({job.key, *(job.model_copy(update=change).key for change in changes)}) == 1 + len(changes)


def test_the_result_is_what_its_stored_returns_say(make_job: MakeJob, lab: Lab) -> None:
    job = make_job()
    result = fit(job)
    returns = read_returns(job.folder)
    assert job.test_rows is not None
    assert result.bars == len(returns) == job.test_rows[1] - job.test_rows[0]
    per_year = lab.dataset.config.bars_per_year
    assert result.sharpe == pytest.approx(returns.mean() / returns.std() * np.sqrt(per_year), rel=1e-2)
    assert result.sharpe != 0.0
    again = measure(Actor.load(job.folder / "agent"), lab.dataset.market, job.test_rows)
    np.testing.assert_array_equal(again.returns, returns)
    assert result.steps == read_learning_curve(job.folder)[-1].steps == 512


def test_without_test_rows_nothing_is_measured(make_job: MakeJob) -> None:
    job = make_job(test_rows=None)
    result = fit(job)
    assert (result.sharpe, result.bars) == (0.0, 0)
    assert not (job.folder / "returns.parquet").exists()


@pytest.mark.parametrize("arm", ["mlp", "ft_scratch"])
def test_defect_10_scaler_and_encoder_never_see_test_rows(
    arm: Arm, make_job: MakeJob, lab: Lab, tmp_path: Path
) -> None:
    job = make_job(arm)
    other = freeze(tmp_path / "other", poisoned(lab.dataset.market, rows=slice(job.train_rows[1] + 1, None)))
    strange = make_job(arm, dataset=other)
    assert strange.key != job.key
    assert fit(job).sharpe != fit(strange).sharpe
    first, last = job.train_rows
    actors = [Actor.load(each.folder / "agent") for each in (job, strange)]
    assert actors[0].scaler == actors[1].scaler == Scaler.fit(lab.dataset.market.features, slice(first, last))
    weights = [(each.folder / "agent" / "weights.safetensors").read_bytes() for each in (job, strange)]
    assert weights[0] == weights[1]


def test_defect_10_pretraining_never_sees_the_rows_after_its_own(lab: Lab, tmp_path: Path) -> None:
    job = lab.encoders["fold-0"]
    other = freeze(tmp_path / "other", poisoned(lab.dataset.market, rows=slice(job.rows[1], None)))
    strange = job.model_copy(
        update={"dataset_folder": other.folder, "dataset_key": other.key, "root": tmp_path / "encoders"}
    )
    one, two = fit_encoder(job), fit_encoder(strange)
    assert one.config.scaler == two.config.scaler
    assert one.config.weights_sha256 == two.config.weights_sha256
    assert one.config.last < job.rows[1]


def test_the_policy_sees_the_scale_its_pretrained_encoder_saw(make_job: MakeJob, lab: Lab) -> None:
    job = make_job("ft_pretrained", train_rows=(320, lab.dataset.splits.folds[1].train[1]))
    fit(job)
    assert Actor.load(job.folder / "agent").scaler == fit_encoder(lab.encoders["fold-1"]).config.scaler


def test_a_frozen_pretrained_encoder_is_the_one_that_was_pretrained(make_job: MakeJob, lab: Lab) -> None:
    job = make_job("ft_pretrained")
    agent = job.training.agent.model_copy(update={"freeze_encoder": True})
    job = job.model_copy(update={"training": job.training.model_copy(update={"agent": agent})})
    fit(job)
    trained = Actor.load(job.folder / "agent")._agent.actor_encoder.state_dict()
    pretrained = fit_encoder(lab.encoders["fold-1"]).encoder.state_dict()
    assert all(torch.equal(trained[name], value) for name, value in pretrained.items())


def refused(caught: pytest.ExceptionInfo[CappuccinoError], *words: str) -> None:
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["deployment", "fold-1"])
def test_an_encoder_of_later_rows_is_refused(name: str, make_job: MakeJob, lab: Lab) -> None:
    encoder, fold = lab.encoders[name], lab.dataset.splits.folds[0]
    job = make_job("ft_pretrained", encoder_folder=encoder.folder, encoder_key=encoder.key)
    job = job.model_copy(update={"train_rows": fold.train, "test_rows": fold.test})
    with pytest.raises(CheckpointError) as caught:
        fit(job)
    refused(caught, str(encoder.folder), f"{encoder.rows[1] - 1}", f"{fold.train[1]}", "pre-train one for this fold")
    assert not list(job.root.glob("*")) if job.root.exists() else True


def test_an_encoder_of_another_data_set_is_refused(
    make_job: MakeJob, lab: Lab, market: MarketTable, tmp_path: Path
) -> None:
    other = freeze(tmp_path / "other", market, bars_manifest="1" * 64)
    job = make_job("ft_pretrained", dataset=other)
    with pytest.raises(CheckpointError) as caught:
        fit(job)
    refused(caught, lab.dataset.key, other.key)


def test_an_encoder_that_is_absent_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(CheckpointError) as caught:
        fit(make_job("ft_pretrained", encoder_folder=None))
    refused(caught, "no pre-trained encoder", "pretrained_encoder")


@pytest.mark.parametrize("shift", [1, 41])
def test_defect_07_test_rows_closer_than_the_gap_are_refused(shift: int, make_job: MakeJob, lab: Lab) -> None:
    first, last = lab.dataset.splits.folds[1].train
    job = make_job(train_rows=(first, last + shift))
    with pytest.raises(DataError) as caught:
        fit(job)
    refused(caught, f"{last + shift}", "42 bars", "the data set's own splits")
    assert not job.root.exists()


def test_a_data_set_under_another_key_is_refused(make_job: MakeJob, lab: Lab) -> None:
    with pytest.raises(CappuccinoError) as caught:
        fit(make_job(dataset_key="0123456789abcdef"))
    refused(caught, "0123456789abcdef", lab.dataset.key)


def test_the_key_of_an_encoder_ignores_its_name_and_folders(lab: Lab, tmp_path: Path) -> None:
    job: EncoderJob = lab.encoders["fold-0"]
    moved = job.model_copy(update={"name": "else", "dataset_folder": tmp_path, "root": tmp_path})
    assert moved.key == job.key
    assert job.model_copy(update={"seed": 1}).key != job.key
    assert job.model_copy(update={"rows": (303, 600)}).key != job.key
    assert load_dataset(job.dataset_folder).key == job.dataset_key
    assert job.encoder == ENCODER


def test_a_killed_job_goes_on_where_its_training_was_saved(make_job, monkeypatch, tmp_path):
    class KilledError(Exception):
        pass

    ppo = {"steps": 10 * 256}  # ten iterations, saved after the eighth
    whole = make_job("ft_pretrained", ppo=ppo, root=tmp_path / "whole")
    fit(whole)
    job = make_job("ft_pretrained", ppo=ppo, root=tmp_path / "killed")
    save = Run.save

    def save_and_die(self, folder):
        save(self, folder)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save_and_die)
        with pytest.raises(KilledError):
            fit(job)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [f".{job.key}.resume"]
    fit(job)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [job.key]
    one, other = (folder / "agent" / "weights.safetensors" for folder in (whole.folder, job.folder))
    assert one.read_bytes() == other.read_bytes()
    assert len(read_learning_curve(job.folder)) == 10
