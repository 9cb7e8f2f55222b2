"""Where a killed pre-training goes on: tensors in safetensors, the rest in JSON, written after every epoch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from cappuccino_ml.core import CheckpointError, file_sha256, read_json, write_bytes, write_json
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel

State = dict[str, Tensor]

_FACTS = "resume.json"


@dataclass
class Progress:
    """What an interrupted run needs to end with the same bytes as one that was left alone."""

    model: MaskedFeatureModel
    optimizer: torch.optim.Optimizer
    generator: torch.Generator  # order and masks
    best: State  # weights of the best epoch
    checkpoints: dict[int, State]
    history: list[dict[str, Any]]  # one line per epoch


def save_progress(folder: Path, progress: Progress, *, identity: dict[str, Any]) -> None:
    """Replace what `folder` holds; a kill at any moment leaves the last whole state."""
    states: dict[str, State] = {"model": progress.model.state_dict(), "best": progress.best}
    states |= {f"checkpoint-{epoch}": state for epoch, state in progress.checkpoints.items()}
    states |= {f"optimizer-{index}": state for index, state in progress.optimizer.state_dict()["state"].items()}
    states["random"] = {"masks": progress.generator.get_state(), "dropout": torch.get_rng_state()}
    # A copy each, because safetensors refuses tensors that share memory.
    tensors = {
        f"{part}/{name}": x.detach().cpu().clone() for part, state in states.items() for name, x in state.items()
    }
    path = folder / f"progress-{len(progress.history):03d}.safetensors"
    write_bytes(path, safetensors.torch.save(tensors))
    facts = {"identity": identity, "file": path.name, "sha256": file_sha256(path), "history": progress.history}
    write_json(folder / _FACTS, facts)
    for old in folder.glob("progress-*.safetensors"):
        if old != path:
            old.unlink()


def load_progress(folder: Path, progress: Progress, *, identity: dict[str, Any]) -> bool:
    """Put a stored state into `progress`, in place -> whether there was one.

    Raises:
        CheckpointError: the state is of another run than `identity` (names what differs), altered, or does not fit.
    """
    if not (folder / _FACTS).is_file():
        return False
    facts = read_json(folder / _FACTS)
    path = folder / facts["file"]
    stated = facts["identity"]
    different = sorted(key for key in {*stated, *identity} if stated.get(key) != identity.get(key))
    if different:
        key = different[0]
        raise CheckpointError(
            f"{folder} holds a pre-training with {key} = {stated.get(key)}, not {identity.get(key)}; go back to that, "
            "or delete the folder to begin anew."
        )
    if not path.is_file() or file_sha256(path) != facts["sha256"]:
        raise CheckpointError(f"{path} is absent or was altered; delete {folder} to begin anew.")
    try:
        tensors = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file ({error}); delete {folder}.") from error
    states: dict[str, State] = {}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        states.setdefault(part, {})[name] = value
    progress.model.load_state_dict(states["model"])
    stored = progress.optimizer.state_dict()
    stored["state"] = {
        int(part.removeprefix("optimizer-")): state for part, state in states.items() if part.startswith("optimizer-")
    }
    progress.optimizer.load_state_dict(stored)
    progress.generator.set_state(states["random"]["masks"])
    torch.set_rng_state(states["random"]["dropout"])
    progress.best = states["best"]
    progress.checkpoints |= {
        int(part.removeprefix("checkpoint-")): state for part, state in states.items() if part.startswith("checkpoint-")
    }
    progress.history += facts["history"]
    return True
