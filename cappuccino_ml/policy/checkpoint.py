"""A trained agent on disk: weights and everything needed to use them. Safetensors and JSON only, nothing executable."""

from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cappuccino_ml.core import (
    CheckpointError,
    Settings,
    artifact_folder,
    digest,
    file_sha256,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.features import FeatureSchema, Scaler
from cappuccino_ml.policy.networks import ActorCritic, build_agent
from cappuccino_ml.policy.ppo import Iteration
from cappuccino_ml.policy.settings import TrainingSettings

WEIGHTS = "weights.safetensors"
CONFIG = "agent.json"
HISTORY = "training_history.json"
EXAMPLE = "example.json"


class AgentConfig(Settings):
    """Everything beside the weights. `key` is the digest of all the other fields but `weights_sha256`."""

    training: TrainingSettings
    feature_schema: FeatureSchema
    scaler: Scaler
    dataset_key: str
    rows: tuple[int, int]  # first and last training row of that data set
    trained_until: datetime
    seed: int
    encoder_key: str | None  # of the pre-trained encoder it started from
    code: str
    key: str = ""
    weights_sha256: str = ""


def identify(config: AgentConfig) -> str:
    """The agent's key: equal settings, data, code and seed have equal keys, and on one thread equal weights."""
    return digest(config.model_dump(mode="json", exclude={"key", "weights_sha256"}))[:16]


def save_agent(
    folder: Path,
    *,
    agent: ActorCritic,
    config: AgentConfig,
    history: list[Iteration],
    example_window: NDArray[np.float64],
) -> AgentConfig:
    """Write a whole agent folder, with an example (window, entries, action) that every later loader must reproduce.

    Args:
        folder: final place; appears complete or not at all.
        agent: the trained agent.
        config: its origin; key and hash are filled in here.
        history: one entry per PPO iteration.
        example_window: stationary, unscaled features [L, N, F].

    Returns:
        `config` with `key` and `weights_sha256`.
    """
    with artifact_folder(folder) as aside:
        tensors = {name: value.detach().clone().contiguous() for name, value in _weights(agent).items()}
        save_file(tensors, aside / WEIGHTS)
        config = config.model_copy(update={"key": identify(config), "weights_sha256": file_sha256(aside / WEIGHTS)})
        write_json(aside / CONFIG, config)
        write_json(aside / HISTORY, [entry.model_dump(mode="json") for entry in history])
        entries = torch.zeros(1 + len(agent.log_std))
        entries[0] = 1.0  # all cash
        action = agent.act(torch.from_numpy(config.scaler.transform(example_window)), entries)
        write_json(
            aside / EXAMPLE,
            {"window": example_window.tolist(), "entries": entries.tolist(), "action": action.tolist()},
        )
    return config


def load_agent(folder: Path, *, expected: FeatureSchema | None = None) -> tuple[ActorCritic, AgentConfig]:
    """Read and verify an agent folder.

    Raises:
        CheckpointError: the folder is unfinished, altered, or its weights do not fit its configuration.
        SchemaMismatch: it was trained on another schema than `expected`.
    """
    if not is_done(folder):
        raise CheckpointError(f"{folder} holds no finished agent (no DONE mark); train it again.")
    config = read_settings(AgentConfig, folder / CONFIG)
    if expected is not None:
        expected.require_same(config.feature_schema, what=f"the agent in {folder}")
    if identify(config) != config.key:
        raise CheckpointError(
            f"{folder / CONFIG} was altered: its key is {config.key}, its content's {identify(config)}."
        )
    found = file_sha256(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else "absent"
    if found != config.weights_sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS} has sha256 {found[:12]}, {CONFIG} says {config.weights_sha256[:12]}; train it again."
        )
    schema = config.feature_schema
    agent = build_agent(
        config.training.agent, tickers=len(schema.tickers), features=len(schema.features), seed=config.seed
    )
    try:
        weights = load_file(folder / WEIGHTS)
        missing = set(_weights(agent)) ^ set(weights)
        if missing:
            raise CheckpointError(
                f"{folder / WEIGHTS} and its configuration differ in {sorted(missing)[0]}; train it again."
            )
        agent.load_state_dict(weights, strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} does not fit its configuration: {error}".split("\n")[0]) from error
    agent.eval()
    return agent, config


def _weights(agent: ActorCritic) -> dict[str, torch.Tensor]:
    """The state by name; a shared encoder is stored once, under the actor."""
    shared = agent.settings.share_encoder
    return {
        name: value for name, value in agent.state_dict().items() if not (shared and name.startswith("critic_encoder."))
    }
