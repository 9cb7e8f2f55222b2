"""A vector environment over a list of spans: what combinatorial splits train on. No episode crosses a splice."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.reward import Reward
from cappuccino_ml.environment.vector import Layout, VectorEnv


class SegmentedEnv(VectorEnv):
    """`VectorEnv` whose episodes begin at any row that leaves the whole episode inside one segment, all equally likely.

    `first` and `last` are the outermost rows; rows between two segments are never visited.
    """

    def __init__(
        self,
        *,
        open_: NDArray[np.float64],
        close: NDArray[np.float64],
        tradable: NDArray[np.bool_],
        segments: Sequence[tuple[int, int]],
        layout: Layout,
        guards: Guards,
        costs: Costs,
        reward: Reward,
        seed: int,
    ) -> None:
        """As `VectorEnv`, but over `segments`, (first, last) each, ascending. One shorter than an episode is left out.

        Raises:
            ValueError: the segments overlap or leave the data, or none holds an episode.
        """
        bounds = [bound for segment in segments for bound in segment]
        if not bounds or any(one >= other for one, other in itertools.pairwise(bounds)):
            raise ValueError(f"segments {list(segments)} must be ascending, apart and not empty")
        self.segments = tuple(span for span in segments if span[1] - span[0] >= layout.episode_bars)
        if not self.segments:
            longest = max(last - first for first, last in segments)
            raise ValueError(
                f"the longest segment has {longest} rows, fewer than one episode of {layout.episode_bars} bars; "
                "shorten the episode"
            )
        starts = [np.arange(first, last - layout.episode_bars + 1) for first, last in self.segments]
        self._starts = np.concatenate(starts)
        super().__init__(
            open_=open_,
            close=close,
            tradable=tradable,
            first=bounds[0],
            last=bounds[-1],
            layout=layout,
            guards=guards,
            costs=costs,
            reward=reward,
            seed=seed,
        )

    def identity(self) -> dict[str, Any]:
        """As of `VectorEnv`, with the segments in place of one span."""
        return {**super().identity(), "rows": [list(span) for span in self.segments]}

    def market_volatility(self) -> float:
        """Standard deviation of equal weight's log-return per bar over the segments' rows."""
        return float(torch.cat([self._equal_weight[first:last] for first, last in self.segments]).std())

    def _start_row(self, draw: np.random.Generator) -> int:
        return int(self._starts[draw.integers(len(self._starts))])
