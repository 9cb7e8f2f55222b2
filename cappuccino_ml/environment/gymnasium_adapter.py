"""The environment as Gymnasium's `Env` and `VectorEnv`, so that other people's agents train on it unchanged.

Gymnasium is an extra: nothing else in the library imports this file.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from cappuccino_ml.environment.episodes import Episodes

Observation = NDArray[np.float32]
Action = NDArray[np.float32]


def spaces(episodes: Episodes) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    """Of one book: what is seen [D] and what can be done [N]."""
    seen = Box(-np.inf, np.inf, (episodes.width,), np.float32)
    return seen, Box(-1.0, 1.0, (episodes.tickers,), np.float32)


class MarketEnv(gymnasium.Env[Observation, Action]):
    """One book. Made from `Episodes` of one book; an episode's start is drawn from Gymnasium's own stream."""

    def __init__(self, episodes: Episodes, *, reward_scale: float = 1.0) -> None:
        """`reward_scale` multiplies log-returns per bar, which are small numbers for most agents.

        Raises:
            ValueError: there is more than one book; use `MarketVectorEnv`.
        """
        if episodes.books != 1:
            raise ValueError(f"{episodes.books} books do not fit one environment; use MarketVectorEnv")
        self.metadata = {"render_modes": []}
        self.episodes, self._reward_scale = episodes, reward_scale
        self.observation_space, self.action_space = spaces(episodes)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same one."""
        super().reset(seed=seed)
        return self.episodes.restart(np.ones(1, dtype=bool), [self.np_random])[0], {"row": int(self.episodes.rows[0])}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One bar; `reset` after an end.

        Raises:
            CappuccinoError: the action is NaN or infinite, or the episode is over.
        """
        moment = self.episodes.step(torch.from_numpy(np.asarray(action, dtype=np.float64)[None]))
        return (
            moment.observation[0],
            float(moment.reward[0]) * self._reward_scale,
            bool(moment.terminated[0]),
            bool(moment.truncated[0]),
            {"row": int(self.episodes.rows[0])},
        )


class MarketVectorEnv(gymnasium.vector.VectorEnv[Observation, Action, NDArray[Any]]):
    """B books in one batched step. A book that ends is reset in the same step; its last observation is in the info."""

    def __init__(self, episodes: Episodes, *, reward_scale: float = 1.0) -> None:
        """See `MarketEnv` for `reward_scale`."""
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.episodes, self._reward_scale = episodes, reward_scale
        self.num_envs = episodes.books
        self.single_observation_space, self.single_action_space = spaces(episodes)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode in every book. One seed means seed, seed + 1, ...; a list gives each book its own."""
        everyone = np.ones(self.num_envs, dtype=bool)
        if seed is None:
            return self.episodes.restart(everyone), {}
        seeds = [seed + book for book in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        streams = [np.random.default_rng(one) for one in seeds]
        return self.episodes.restart(everyone, streams), {}

    def step(
        self, actions: Action
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One bar of every book; `actions` [B, N].

        Raises:
            CappuccinoError: an action is NaN or infinite.
        """
        moment = self.episodes.step(torch.from_numpy(np.asarray(actions, dtype=np.float64)))
        over = moment.terminated | moment.truncated
        observation, info = moment.observation, {}
        if over.any():
            last = np.full(self.num_envs, None, dtype=object)
            for book in np.flatnonzero(over):
                last[book] = moment.observation[book]
            info = {"final_obs": last, "_final_obs": over}
            observation = self.episodes.restart(over)
        return observation, moment.reward * self._reward_scale, moment.terminated, moment.truncated, info
