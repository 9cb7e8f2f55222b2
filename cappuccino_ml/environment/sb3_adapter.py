"""`MarketVectorEnv` as Stable-Baselines3's `VecEnv`: the peer that benchmarks and tests train beside our own agent.

Stable-Baselines3 is an extra: nothing else in the library imports this file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from cappuccino_ml.environment.gymnasium_adapter import MarketVectorEnv


class MarketVecEnv(VecEnv):
    """The same books; seeds given by `seed` count at the next reset."""

    def __init__(self, env: MarketVectorEnv) -> None:
        seen, done = env.single_observation_space, env.single_action_space
        assert isinstance(seen, Box)
        assert isinstance(done, Box)
        self._env = env
        super().__init__(env.num_envs, seen, done)
        self._actions: NDArray[Any] = np.zeros((env.num_envs, *done.shape))

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every book."""
        seeds = None if all(seed is None for seed in self._seeds) else list(self._seeds)
        observation, _ = self._env.reset(seed=seeds)
        self._reset_seeds()
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Play them."""
        observation, reward, terminated, truncated, info = self._env.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        over = terminated | truncated
        for book in np.flatnonzero(over):
            infos[book] = {
                "terminal_observation": info["final_obs"][book],
                "TimeLimit.truncated": bool(truncated[book]),
            }
        return observation, reward.astype(np.float32), over, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The books share one environment, so they share its attributes."""
        return [getattr(self._env, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set it for all books."""
        setattr(self._env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call it once; every book gets the answer."""
        return [getattr(self._env, method_name)(*args, **kwargs)] * len(self._chosen(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * len(self._chosen(indices))

    def _chosen(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
