"""A killed PPO run goes on as if nothing had happened: weights, moments, generators, books and what was reported."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cappuccino_ml.core import code_version
from cappuccino_ml.encoder.resume import State, load_states, restore, save_states, states_of
from cappuccino_ml.environment import VectorEnv
from cappuccino_ml.policy.networks import ActorCritic
from cappuccino_ml.policy.settings import PPOSettings

AGENT_ROOMS = ("features", "environment", "encoder", "policy")  # code that shapes an agent


@dataclass
class Run:
    """Everything that a PPO run changes as it goes; `identity` is taken before its first step."""

    agent: ActorCritic
    optimizer: torch.optim.Optimizer
    env: VectorEnv
    random: torch.Generator  # exploration and the order of minibatches
    history: list[dict[str, Any]]  # one line per iteration
    identity: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Replace what `folder` holds; a kill at any moment leaves the last whole state."""
        states: dict[str, State] = {"agent": _weights(self.agent), "env": self.env.state()}
        states["random"] = {"exploration": self.random.get_state()}
        save_states(folder, states | states_of(self.optimizer), history=self.history, identity=self.identity)

    def load(self, folder: Path) -> None:
        """Go on from what `save` left there, if anything.

        Raises:
            CheckpointError: it is the state of another run, or was altered.
        """
        found = load_states(folder, identity=self.identity, what="training")
        if found is None:
            return
        states, history = found
        with torch.no_grad():
            for name, parameter in self.agent.named_parameters():
                parameter.copy_(states["agent"][name])
        self.env.restore(states["env"])
        self.random.set_state(states["random"]["exploration"])
        restore(self.optimizer, states)
        self.history += history


def identity_of(
    agent: ActorCritic, market: Tensor, env: VectorEnv, settings: PPOSettings, *, seed: int
) -> dict[str, Any]:
    """What a run is, as JSON, before its first step: settings, seed, code and hashes of all it starts from."""
    return {
        "agent": agent.settings.model_dump(mode="json"),
        "ppo": settings.model_dump(mode="json"),
        "environment": env.identity(),
        "seed": seed,
        "code": code_version(*AGENT_ROOMS),
        "features": _sha256({"market": market}),
        "first_weights": _sha256(_weights(agent)),
        "first_books": _sha256(env.state()),
    }


def _weights(agent: ActorCritic) -> State:
    """Each parameter once, an encoder that actor and critic share included."""
    return dict(agent.named_parameters())


def _sha256(tensors: State) -> str:
    sha = hashlib.sha256()
    for name, value in tensors.items():
        sha.update(name.encode())
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]
