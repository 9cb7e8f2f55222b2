"""A killed pre-training goes on as if nothing had happened; a step in parts is the same; no memory, one sentence."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from cappuccino_ml.core import CappuccinoError, CheckpointError
from cappuccino_ml.encoder import Epoch, Pretrained, PretrainingSettings, pretrain
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel

from .conftest import FIRST, LAST, TINY

SETTINGS = PretrainingSettings(batch_size=32, epochs=4, checkpoint_every=2)


class KilledError(Exception):
    """Stands for a kill between two epochs."""


def run(market: Tensor, **changes: object) -> Pretrained:
    arguments = {"first": FIRST, "last": LAST, "encoder": TINY, "settings": SETTINGS, "seed": 3} | changes
    return pretrain(market=market, **arguments)  # type: ignore[arg-type]


def all_bytes(result: Pretrained) -> list[bytes]:
    states = [
        result.encoder.state_dict(),
        result.final,
        *(result.checkpoints[key] for key in sorted(result.checkpoints)),
    ]
    facts = [*result.history, result.skill]
    return [save(state) for state in states] + [fact.model_dump_json().encode() for fact in facts]


def kill_after(epochs: int):
    def on_epoch(line: Epoch) -> None:
        if line.epoch == epochs:
            raise KilledError

    return on_epoch


@pytest.fixture
def halfway(market: Tensor, tmp_path: Path) -> Path:
    with pytest.raises(KilledError):
        run(market, resume=tmp_path / "state", on_epoch=kill_after(3))
    return tmp_path / "state"


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_that_was_killed_ends_with_the_same_bytes(market: Tensor, tmp_path: Path, after: int):
    folder, seen = tmp_path / "state", []
    with pytest.raises(KilledError):
        run(market, resume=folder, on_epoch=kill_after(after))
    torch.manual_seed(99)
    resumed = run(market, resume=folder, on_epoch=seen.append)
    assert [line.epoch for line in seen] == list(range(after + 1, 5))
    assert all_bytes(resumed) == all_bytes(run(market))
    assert not folder.exists()


def test_the_state_is_one_safetensors_file_and_json(halfway: Path):
    assert sorted(path.name for path in halfway.iterdir()) == ["progress-003.safetensors", "resume.json"]
    assert len(json.loads((halfway / "resume.json").read_text())["history"]) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "with seed = 3, not 4"),
        ({"last": LAST - 1}, "with bars = "),
        ({"settings": SETTINGS.model_copy(update={"learning_rate": 0.5})}, "with pretraining = "),
    ],
)
def test_the_state_of_another_run_is_refused_by_name(
    halfway: Path, market: Tensor, changes: dict[str, object], message: str
):
    with pytest.raises(CheckpointError, match=message):
        run(market, resume=halfway, **changes)


def test_an_altered_state_is_refused(halfway: Path, market: Tensor):
    path = halfway / "progress-003.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="absent or was altered"):
        run(market, resume=halfway)


@pytest.mark.parametrize("micro_batch", [1, 5, 31, 64])
def test_a_step_taken_in_parts_learns_the_same(market: Tensor, micro_batch: int):
    encoder = TINY.model_copy(update={"dropout": 0.0})
    whole = run(market, encoder=encoder)
    parts = run(market, encoder=encoder, settings=SETTINGS.model_copy(update={"micro_batch": micro_batch}))
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one.model_dump() == pytest.approx(other.model_dump(), rel=1e-4)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: ..."),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_no_memory_ends_in_one_sentence_that_says_what_to_lower(
    market: Tensor, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(MaskedFeatureModel, "forward", fail)
    with pytest.raises(CappuccinoError, match=r"32 windows of 12 tokens at a time; set micro_batch below 32"):
        run(market)


def test_other_errors_of_torch_stay_what_they_are(market: Tensor, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(MaskedFeatureModel, "forward", fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run(market)
