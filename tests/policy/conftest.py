"""A tiny market whose one feature is the sign of the next bars' drift, and agents to trade it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.environment import Costs, Guards, Layout, Reward, VectorEnv
from cappuccino_ml.policy.networks import ActorCritic, build_agent
from cappuccino_ml.policy.settings import AgentSettings

TINY_ENCODER = EncoderSettings(lookback=3, d_token=8, n_blocks=2, n_heads=2, encoding_dim=12)


@dataclass(frozen=True)
class Planted:
    """Scaled features [T, N, F] and prices [T, N]."""

    features: Tensor
    price: NDArray[np.float64]

    def env(
        self, *, first: int = 5, last: int = 395, layout: Layout | None = None, seed: int = 0, **options: Any
    ) -> VectorEnv:
        """Environments over rows first..last; every bar opens where the last one closed."""
        parts = {"guards": Guards(), "costs": Costs(fee_bps=1), "reward": Reward(), **options}
        layout = layout or Layout(timestamps=3, environments=4, steps=8, episode_bars=16)
        return VectorEnv(first=first, last=last, layout=layout, seed=seed, **self.arrays(), **parts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As `backtest` and `VectorEnv` take them."""
        opening = np.vstack([self.price[:1], self.price[:-1]])
        return {"open_": opening, "close": self.price, "tradable": np.ones(self.price.shape, dtype=np.bool_)}


MakePlanted = Callable[..., Planted]
MakeAgent = Callable[..., ActorCritic]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_planted() -> MakePlanted:
    def make(
        *, seed: int = 0, bars: int = 400, tickers: int = 2, drift: float = 0.004, noise: float = 0.004
    ) -> Planted:
        """The sign of a ticker's drift flips in one bar of fifty; it is known one bar ahead, as the only feature."""
        random = np.random.default_rng(seed)
        flips = np.where(random.random((bars, tickers)) < 0.02, -1.0, 1.0)
        sign = random.choice([-1.0, 1.0], tickers) * np.cumprod(flips, axis=0)
        moves = drift * sign + noise * random.standard_normal((bars, tickers))
        price = 100 * np.exp(np.vstack([np.zeros((1, tickers)), np.cumsum(moves, axis=0)[:-1]]))
        return Planted(features=torch.from_numpy(sign).float().unsqueeze(-1), price=price)

    return make


@pytest.fixture(scope="session")
def make_agent() -> MakeAgent:
    def make(arm: str = "mlp", *, seed: int = 0, tickers: int = 2, features: int = 1, **options: Any) -> ActorCritic:
        encoder = None if arm == "mlp" else TINY_ENCODER
        settings = AgentSettings(arm=arm, lookback=3, net_dimension=16, encoder=encoder, **options)
        return build_agent(settings, tickers=tickers, features=features, seed=seed).eval()

    return make
