"""An encoder folder is read back to the bit, or not at all."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cappuccino_ml.core import CheckpointError, ConfigurationError, SchemaMismatch, file_sha256
from cappuccino_ml.encoder import EncoderConfig, Pretrained, load_encoder, save_encoder, windows
from cappuccino_ml.encoder.checkpoint import FINAL

from .conftest import FIRST, LAST, TINY, make_scaler, make_schema


def write(folder: Path, pretrained: Pretrained) -> EncoderConfig:
    return save_encoder(
        folder, pretrained=pretrained, schema=make_schema(), scaler=make_scaler(), dataset_key="dataset-1"
    )


@pytest.fixture
def folder(tmp_path: Path, pretrained: Pretrained) -> Path:
    write(tmp_path / "encoder", pretrained)
    return tmp_path / "encoder"


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_round_trip_is_equal_to_the_bit(folder: Path, pretrained: Pretrained, market: Tensor):
    loaded = load_encoder(folder, expected=make_schema())
    batch = windows(market, torch.arange(10, 40), TINY.lookback)
    assert torch.equal(loaded.encoder(batch), pretrained.encoder(batch))
    assert not loaded.encoder.training
    assert loaded.config.skill == pretrained.skill
    assert loaded.config.scaler == make_scaler()
    assert (loaded.config.first, loaded.config.last, loaded.config.dataset_key) == (FIRST, LAST, "dataset-1")


def test_the_folder_holds_best_final_and_every_checkpoint(folder: Path, pretrained: Pretrained):
    assert {path.name for path in folder.iterdir()} == {
        "DONE",
        "config.json",
        "decoders.safetensors",
        "encoder.safetensors",
        "epoch-001.safetensors",
        "epoch-002.safetensors",
        "final.safetensors",
        "training_history.json",
    }
    history = json.loads((folder / "training_history.json").read_text())
    assert history == [epoch.model_dump(mode="json") for epoch in pretrained.history]
    last = load_encoder(folder, expected=None, weights="epoch-002.safetensors").encoder.state_dict()
    final = load_encoder(folder, expected=None, weights=FINAL).encoder.state_dict()
    assert all(torch.equal(last[name], final[name]) for name in final)


def test_the_same_encoder_gives_the_same_files(folder: Path, tmp_path: Path, pretrained: Pretrained):
    write(tmp_path / "again", pretrained)
    for path in folder.iterdir():
        assert file_sha256(path) == file_sha256(tmp_path / "again" / path.name), path.name


def test_a_folder_without_its_done_mark_is_not_read(folder: Path):
    (folder / "DONE").unlink()
    with pytest.raises(CheckpointError, match="no DONE mark"):
        load_encoder(folder, expected=None)


@pytest.mark.parametrize("at", [0, 100, -1])
def test_altered_weights_are_refused(folder: Path, at: int):
    path = folder / "encoder.safetensors"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="it was altered"):
        load_encoder(folder, expected=None)


def test_weights_that_are_absent_are_refused(folder: Path):
    (folder / "encoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        load_encoder(folder, expected=None)
    with pytest.raises(CheckpointError, match="not among the weights"):
        load_encoder(folder, expected=None, weights="config.json")


def test_tickers_in_another_order_are_refused_by_name(folder: Path):
    with pytest.raises(SchemaMismatch, match=r"BTC, ETH, LTC.*ETH, BTC, LTC") as caught:
        load_encoder(folder, expected=make_schema(("ETH", "BTC", "LTC")))
    assert make_schema().hash in str(caught.value)


def test_an_altered_schema_is_refused(folder: Path):
    schema = make_schema(("ETH", "BTC", "LTC")).model_dump(mode="json")
    edit_config(folder, feature_schema=schema)
    with pytest.raises(CheckpointError, match="schema hash"):
        load_encoder(folder, expected=None)


def test_another_shape_is_refused(folder: Path):
    edit_config(folder, encoder=TINY.model_copy(update={"d_token": 32}).model_dump(mode="json"))
    with pytest.raises(CheckpointError, match="does not fit the shape"):
        load_encoder(folder, expected=make_schema())


def test_an_unknown_key_is_refused(folder: Path):
    edit_config(folder, surprise=1)
    with pytest.raises(ConfigurationError, match="surprise"):
        load_encoder(folder, expected=None)


def test_a_schema_of_another_shape_is_not_saved(tmp_path: Path, pretrained: Pretrained):
    with pytest.raises(CheckpointError, match="pass those it was trained with"):
        save_encoder(
            tmp_path / "encoder",
            pretrained=pretrained,
            schema=make_schema(("BTC", "ETH")),
            scaler=make_scaler(),
            dataset_key="dataset-1",
        )
    assert list(tmp_path.iterdir()) == []
