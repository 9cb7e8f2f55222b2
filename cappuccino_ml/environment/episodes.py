"""Independent episodes with observations spelled out: what other libraries call an environment.

Each book has its own moment of the market, its own random stream and its own end. `VectorEnv` is the fast form of the
same thing; this one exists for the Gymnasium adapter, for checks and as an oracle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cappuccino_ml.core import CappuccinoError, derive_seed
from cappuccino_ml.environment.bar import Bar, play
from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book, total
from cappuccino_ml.environment.reward import Reward
from cappuccino_ml.environment.vector import CAPITAL, RUIN, require_finite

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """What one step of B books led to, before any of them is reset."""

    observation: NDArray[np.float32]  # [B, D]
    reward: Floats  # [B], log-return units
    terminated: NDArray[np.bool_]  # [B], ruined or halted: the future is worth nothing
    truncated: NDArray[np.bool_]  # [B], out of time: the future is worth what the critic says


class Episodes:
    """B books over rows first..last of one market; D = 1 + N + F x N x L numbers are seen of each."""

    def __init__(
        self,
        *,
        features: NDArray[np.float32],
        open_: Floats,
        close: Floats,
        tradable: NDArray[np.bool_],
        first: int,
        last: int,
        books: int = 1,
        lookback: int = 3,
        episode_bars: int = 256,
        guards: Guards | None = None,
        costs: Costs | None = None,
        reward: Reward | None = None,
        random_holdings: bool = False,
        seed: int = 0,
    ) -> None:
        """Make the environment and reset it.

        Args:
            features: what is known at each close, scaled: [T, N, F].
            open_: opening prices [T, N]; `close` and `tradable` alike.
            first: first row at which a decision may be taken.
            last: last row that may be marked.
            books: B.
            lookback: L, bars that are seen, the newest included.
            episode_bars: bars until an episode is truncated.
            guards: limits.
            costs: fees and lots.
            reward: what is paid.
            random_holdings: start with random weights rather than in cash.
            seed: of everything random.

        Raises:
            ValueError: the rows leave the data, or are too few for the lookback or one episode.
        """
        if not lookback - 1 <= first < last < len(close):
            raise ValueError(f"rows {first}..{last} with lookback {lookback} do not fit data of {len(close)} rows")
        if not 1 <= episode_bars <= last - first:
            raise ValueError(f"an episode of {episode_bars} bars does not fit rows {first}..{last}; shorten it")
        self.guards, self.costs, self.reward = guards or Guards(), costs or Costs(), reward or Reward()
        self.first, self.last, self.lookback, self.episode_bars = first, last, lookback, episode_bars
        prices = torch.from_numpy(close)
        self._equal_weight = torch.log((prices[1:] / prices[:-1]).mean(-1))
        # [N, T]: a gather along T then has the memory layout of a book's units.
        self._close, self._open = prices.t().contiguous(), torch.from_numpy(open_).t().contiguous()
        self._tradable = torch.from_numpy(tradable).double().t().contiguous()
        # Row k holds the bars k .. k + L - 1 as features x tickers x lookback; a view, no copy.
        windows = np.lib.stride_tricks.sliding_window_view(features, lookback, axis=0)  # [T - L + 1, N, F, L]
        self._windows = windows.transpose(0, 2, 1, 3)
        self._random_holdings = random_holdings
        self.books, self.tickers = books, close.shape[1]
        self.width = 1 + self.tickers * (1 + features.shape[2] * lookback)
        self.reset(seed=seed)

    def reset(self, *, seed: int) -> NDArray[np.float32]:
        """Forget everything; book b starts where `seed` and b say -> observation [B, D]."""
        streams = [np.random.default_rng(derive_seed(seed, "episode", book)) for book in range(self.books)]
        return self.restart(np.ones(self.books, dtype=bool), streams)

    def restart(
        self, which: NDArray[np.bool_], streams: Sequence[np.random.Generator] | None = None
    ) -> NDArray[np.float32]:
        """Start a new episode in the books `which` [B], drawn from their own streams -> observation [B, D]."""
        if streams is not None:
            self._streams = list(streams)
            self.rows = torch.zeros(self.books, dtype=torch.long)
            self.age = torch.zeros(self.books, dtype=torch.long)
            self.book = Book.fresh(capital=CAPITAL, books=self.books, tickers=self.tickers)
        share = torch.zeros_like(self.book.units)
        for book in np.flatnonzero(which):
            stream = self._streams[book]
            self.rows[book] = int(stream.integers(self.first, self.last - self.episode_bars + 1))
            self.age[book] = 0
            if self._random_holdings:
                drawn = stream.dirichlet(np.ones(self.tickers)) * stream.random()
                share[book] = torch.from_numpy(drawn.clip(max=self.guards.max_weight) * (1 - self.guards.min_cash))
        self.book.reopen(torch.from_numpy(which), capital=CAPITAL, share=share, close=self._close[:, self.rows].t())
        return self.observation()

    def observation(self) -> NDArray[np.float32]:
        """Cash share, weights, then features x tickers x lookback (oldest first): [B, D]."""
        entries = self.book.entries(self._close[:, self.rows].t()).numpy()
        seen = self._windows[self.rows.numpy() - self.lookback + 1].reshape(self.books, -1)
        return np.concatenate([entries, seen], axis=1, dtype=np.float32)

    def step(self, action: Tensor) -> Moment:
        """One bar of every book; `action` [B, N] in [-1, 1].

        Raises:
            CappuccinoError: an action is NaN or infinite, or an episode is over and was not restarted.
        """
        require_finite(action)
        if bool((self.age >= self.episode_bars).any()):
            raise CappuccinoError(f"an episode of {self.episode_bars} bars is over; reset it before the next step")
        now, then = self.rows, self.rows + 1
        outcome = play(
            self.book,
            action,
            Bar(
                close=self._close[:, now].t(),
                opening=self._open[:, then].t(),
                tradable=self._tradable[:, then].t(),
                after_close=self._close[:, then].t(),
                benchmark=self._equal_weight[now],
            ),
            guards=self.guards,
            costs=self.costs,
            terms=self.reward,
        )
        self.rows, self.age = then, self.age + 1
        terminated = self.book.halted | (outcome.equity < RUIN * CAPITAL)
        truncated = (self.age >= self.episode_bars) & ~terminated
        return Moment(
            observation=self.observation(),
            reward=total(outcome.reward).numpy(),
            terminated=terminated.numpy(),
            truncated=truncated.numpy(),
        )
