"""Inference only: what the trader and the backtest ask of a trained agent."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cappuccino_ml.environment import Act, Costs, Guards
from cappuccino_ml.features import FeatureSchema, MarketTable, Scaler
from cappuccino_ml.policy.checkpoint import AgentConfig, load_agent
from cappuccino_ml.policy.networks import ActorCritic


class Actor:
    """The mean action of a trained policy. Which architecture it has is read from its own configuration."""

    def __init__(self, *, agent: ActorCritic, config: AgentConfig) -> None:
        self._agent = agent.eval()
        self.config = config

    @classmethod
    def load(cls, folder: Path) -> "Actor":
        """Load and verify an agent folder; see `load_agent` for the errors."""
        agent, config = load_agent(folder)
        return cls(agent=agent, config=config)

    @property
    def schema(self) -> FeatureSchema:
        """What its features must mean."""
        return self.config.feature_schema

    @property
    def scaler(self) -> Scaler:
        """Fitted on its training rows."""
        return self.config.scaler

    @property
    def lookback(self) -> int:
        """Bars it looks at, L."""
        return self.config.training.agent.lookback

    @property
    def guards(self) -> Guards:
        """Limits it was trained with."""
        return self.config.training.guards

    @property
    def costs(self) -> Costs:
        """Costs it was trained with."""
        return self.config.training.costs

    @property
    def arm(self) -> str:
        """mlp, ft_scratch or ft_pretrained."""
        return self.config.training.agent.arm

    @property
    def key(self) -> str:
        """Which model this is."""
        return self.config.key

    def act(self, window: NDArray[np.float64], entries: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean action for one moment.

        Args:
            window: stationary, unscaled features [L, N, F] of the last L closed bars, oldest first.
            entries: cash share and weights [1 + N].

        Returns:
            [N] in [-1, 1].
        """
        scaled = torch.from_numpy(self.scaler.transform(window))
        return np.asarray(self._agent.act(scaled, torch.from_numpy(entries)).numpy())

    def over(self, market: MarketTable, *, first: int, last: int) -> Act:
        """The policy as an `Act` over rows first..last of `market`: every moment is encoded once, in batches."""
        self.schema.require_same(market.schema, what="the market table")
        scaled = torch.from_numpy(market.scaled(self.scaler))
        with torch.no_grad():
            parts = [torch.arange(row, min(row + 512, last)) for row in range(first, last, 512)]
            table = torch.cat([self._agent.encode(scaled, rows)[0] for rows in parts])

        def act(t: int, entries: NDArray[np.float32]) -> NDArray[np.float64]:
            with torch.no_grad():
                mean = self._agent.mean_action(
                    table[t - first : t - first + 1], torch.from_numpy(entries).view(1, 1, -1)
                )
            return np.asarray(mean[0, 0].clamp(-1, 1).double().numpy())

        return act
