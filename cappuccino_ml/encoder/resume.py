"""Where a killed training goes on: tensors in safetensors, the rest in JSON, replaced as one by every save."""

from collections.abc import Mapping
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
    """What an interrupted pre-training needs to end with the same bytes as one that was left alone."""

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
    states["random"] = {"masks": progress.generator.get_state(), "dropout": torch.get_rng_state()}
    if (device := _device(progress.model)).type == "cuda":
        states["random"]["dropout on the GPU"] = torch.cuda.get_rng_state(device)
    states |= states_of(progress.optimizer)
    save_states(folder, states, history=progress.history, identity=identity)


def load_progress(folder: Path, progress: Progress, *, identity: dict[str, Any]) -> bool:
    """Put a stored state into `progress`, in place -> whether there was one; see `load_states` for the errors."""
    found = load_states(folder, identity=identity, what="pre-training")
    if found is None:
        return False
    states, history = found
    progress.model.load_state_dict(states["model"])
    restore(progress.optimizer, states)
    progress.generator.set_state(states["random"]["masks"])
    torch.set_rng_state(states["random"]["dropout"])
    if (device := _device(progress.model)).type == "cuda":
        torch.cuda.set_rng_state(states["random"]["dropout on the GPU"], device)
    progress.best = states["best"]
    progress.checkpoints |= {
        int(part.removeprefix("checkpoint-")): state for part, state in states.items() if part.startswith("checkpoint-")
    }
    progress.history += history
    return True


def states_of(optimizer: torch.optim.Optimizer) -> dict[str, State]:
    """The optimizer's moments, parameter by parameter, in a form that `save_states` takes."""
    return {f"optimizer-{index}": state for index, state in optimizer.state_dict()["state"].items()}


def restore(optimizer: torch.optim.Optimizer, states: Mapping[str, State]) -> None:
    """Put what `states_of` gave back; groups and their settings stay the optimizer's own."""
    stored = optimizer.state_dict()
    stored["state"] = {
        int(part.removeprefix("optimizer-")): state for part, state in states.items() if part.startswith("optimizer-")
    }
    optimizer.load_state_dict(stored)


def _device(model: MaskedFeatureModel) -> torch.device:
    return next(model.parameters()).device


def save_states(
    folder: Path, states: Mapping[str, State], *, history: list[dict[str, Any]], identity: dict[str, Any]
) -> None:
    """Replace what `folder` holds; a kill at any moment leaves the last whole state.

    Args:
        folder: made if absent.
        states: tensors by part and name.
        history: one line per step of the run so far; their number names the file.
        identity: what run this is, as JSON.
    """
    # A copy each, because safetensors refuses tensors that share memory.
    tensors = {
        f"{part}/{name}": x.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, state in states.items()
        for name, x in state.items()
    }
    path = folder / f"progress-{len(history):03d}.safetensors"
    write_bytes(path, safetensors.torch.save(tensors))
    write_json(
        folder / _FACTS,
        {"identity": identity, "file": path.name, "sha256": file_sha256(path), "history": history},
    )
    for old in folder.glob("progress-*.safetensors"):
        if old != path:
            old.unlink()


def load_states(
    folder: Path, *, identity: dict[str, Any], what: str
) -> tuple[dict[str, State], list[dict[str, Any]]] | None:
    """States and history that `save_states` left in `folder`; None if there are none.

    Raises:
        CheckpointError: the state is of another run (`what`) than `identity`, naming what differs, or was altered.
    """
    if not (folder / _FACTS).is_file():
        return None
    facts = read_json(folder / _FACTS)
    path = folder / facts["file"]
    stated = facts["identity"]
    different = sorted(key for key in {*stated, *identity} if stated.get(key) != identity.get(key))
    if different:
        key = different[0]
        raise CheckpointError(
            f"{folder} holds a {what} with {key} = {stated.get(key)}, not {identity.get(key)}; go back to that, "
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
    return states, facts["history"]
