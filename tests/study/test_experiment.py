"""Experiments by hand: a JSON file, the folds of a data set, the same artefacts as a study's."""

import json
from pathlib import Path

import pytest
import torch

from cappuccino_ml.core import CheckpointError, ConfigurationError, is_done, read_settings
from cappuccino_ml.policy import load_agent
from cappuccino_ml.study import Experiment, device_of, fit, fit_encoder, pretraining_job, training_job
from tests.study.conftest import ENCODER, LAYOUT

FAST = {
    "ft_config": ENCODER.model_dump(),
    "pretraining": {"epochs": 1, "batch_size": 64},
    "ppo": {"steps": 256, "batch_size": 64},
    "layout": LAYOUT.model_dump(),
    "net_dimension": 16,
}


def experiment(tmp_path, **changes):
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(FAST | changes))
    return read_settings(Experiment, path)


def test_an_encoder_pretrained_by_hand_is_put_into_the_agent_and_measured_on_later_rows(lab, tmp_path):
    pretraining = pretraining_job(experiment(tmp_path), lab.dataset, root=tmp_path)
    epochs = []
    loaded = fit_encoder(pretraining, on_epoch=epochs.append)
    files = {path.name for path in pretraining.folder.iterdir()}
    assert {"encoder.safetensors", "final.safetensors", "config.json", "training_history.json"} <= files
    assert len(epochs) == 1

    file = {"use_ft_encoder": True, "pretrained_encoder_path": str(pretraining.folder), "freeze_encoder": True}
    job = training_job(experiment(tmp_path, **file), lab.dataset, root=tmp_path)
    assert (job.training.agent.arm, job.training.agent.freeze_encoder) == ("ft_pretrained", True)
    lines = []
    result = fit(job, on_iteration=lines.append)
    fold = lab.dataset.splits.folds[-1]
    assert result.bars == fold.test[1] - fold.test[0]
    assert lines[-1].steps == result.steps
    agent, _ = load_agent(job.folder / "agent")
    for name, value in loaded.encoder.state_dict().items():
        assert torch.equal(agent.actor_encoder.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("file", "arm"), [({}, "mlp"), ({"lookback": 2}, "mlp"), ({"use_ft_encoder": True}, "ft_scratch")]
)
def test_the_file_decides_the_arm(lab, tmp_path, file, arm):
    job = training_job(experiment(tmp_path, **file), lab.dataset, root=tmp_path)
    assert job.training.agent.arm == arm
    assert (job.training.agent.encoder is None) == (arm == "mlp")


def test_deployment_trains_on_all_development_rows_and_measures_nothing(lab, tmp_path):
    job = training_job(experiment(tmp_path, fold="deployment"), lab.dataset, root=tmp_path)
    assert (job.train_rows, job.test_rows) == (lab.dataset.splits.development, None)
    assert pretraining_job(experiment(tmp_path, fold="deployment"), lab.dataset, root=tmp_path).name == "deployment"


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ({"freeze_encoder": True}, "freeze_encoder is given, but use_ft_encoder is false"),
        ({"pretrained_encoder_path": "x"}, "pretrained_encoder_path is given, but use_ft_encoder is false"),
        ({"use_ft_encoder": True, "lookback": 9}, "lookback 9 differs from the encoder's 2"),
        ({"learning_rate": 1.0}, "learning_rate: Extra inputs are not permitted"),
        ({"fold": -1}, "fold"),
    ],
)
def test_defect_19_a_file_that_contradicts_itself_is_refused_in_one_sentence(tmp_path, file, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        experiment(tmp_path, **file)


def test_a_fold_that_is_not_there_and_an_encoder_that_is_not_there_are_named(lab, tmp_path):
    with pytest.raises(ConfigurationError, match="fold is 2, but the data set has folds 0 to 1"):
        training_job(experiment(tmp_path, fold=2), lab.dataset, root=tmp_path)
    absent = {"use_ft_encoder": True, "pretrained_encoder_path": str(tmp_path / "absent")}
    with pytest.raises(CheckpointError, match="absent"):
        training_job(experiment(tmp_path, **absent), lab.dataset, root=tmp_path)


def test_an_encoder_of_another_shape_than_the_file_asks_for_is_refused(lab, tmp_path):
    folder = lab.encoders["fold-1"].folder
    file = {"use_ft_encoder": True, "pretrained_encoder_path": str(folder)}
    other = ENCODER.model_copy(update={"d_token": 16}).model_dump()
    with pytest.raises(ConfigurationError, match="leave ft_config out"):
        training_job(experiment(tmp_path, ft_config=other, **file), lab.dataset, root=tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_and_auto_takes_the_cpu():
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(ConfigurationError, match="no CUDA GPU here; choose cpu or auto"):
        device_of("cuda")


def test_a_finished_experiment_is_only_read(lab, tmp_path):
    job = training_job(experiment(tmp_path), lab.dataset, root=tmp_path)
    first = fit(job)
    lines = []
    assert fit(job, on_iteration=lines.append) == first
    assert (lines, is_done(job.folder)) == ([], True)


def test_the_documents_example_is_a_file_that_can_be_read_and_every_name_is_explained(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    path = tmp_path / "example.json"
    path.write_text(text.split("```json\n")[1].split("```")[0])
    assert read_settings(Experiment, path).use_ft_encoder
    explained = {name for line in text.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")}
    assert set(Experiment.model_fields) <= explained
