"""Many books at once, in groups that share their timestamps, so that each moment of the market is encoded once.

The market does not care what we hold: an observation is a row index and 1 + N portfolio entries, never a window.
Each group and each book has its own random stream, found from the seed, its index and how often it has begun anew: what
it draws does not depend on how many others there are, nor on which of them ended first.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from cappuccino_ml.core import CappuccinoError, Settings, derive_seed
from cappuccino_ml.environment.bar import Bar, play
from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book
from cappuccino_ml.environment.positions import CPU
from cappuccino_ml.environment.reward import Reward

CAPITAL = 100_000.0  # quote currency; policies see weights only, so it matters to the lot rules alone
RUIN = 0.05  # share of the starting equity below which an episode terminates


class Layout(Settings):
    """Shape of a rollout: `timestamps` groups x `environments` books in each x `steps` bars."""

    timestamps: int = Field(8, ge=1, description="groups; each has its own moment of the market")
    environments: int = Field(8, ge=1, description="books that share a group's moments")
    steps: int = Field(128, ge=1, description="bars per rollout; chosen by measurement, as the other two")
    episode_bars: int = Field(256, ge=1, description="bars until an episode is cut (bootstrapped); a multiple of steps")

    @model_validator(mode="after")
    def _whole_rollouts(self) -> "Layout":
        if self.episode_bars % self.steps:
            raise ValueError(
                f"episode_bars {self.episode_bars} is not a multiple of steps {self.steps}; choose one that is"
            )
        return self

    @property
    def books(self) -> int:
        """B."""
        return self.timestamps * self.environments

    @property
    def samples(self) -> int:
        """Environment steps in one rollout."""
        return self.books * self.steps


@dataclass(frozen=True)
class Step:
    """Outcome of one step of B books."""

    reward: Tensor  # [B, N], float64, log-return units; a book's reward is the sum over tickers
    terminated: Tensor  # [B], bool: ruined or halted; the book has been replaced by a fresh one
    turnover: Tensor  # [B, N]


class VectorEnv:
    """B = timestamps x environments books over rows first..last of one market. Group g has books g*E .. g*E + E - 1."""

    def __init__(
        self,
        *,
        open_: NDArray[np.float64],
        close: NDArray[np.float64],
        tradable: NDArray[np.bool_],
        first: int,
        last: int,
        layout: Layout,
        guards: Guards,
        costs: Costs,
        reward: Reward,
        seed: int,
        device: torch.device = CPU,
    ) -> None:
        """Make the environments; call `begin_rollout` before stepping.

        Args:
            open_: opening prices [T, N]; `close` and `tradable` alike.
            first: first row at which a decision may be taken.
            last: last row that may be marked. No episode leaves first..last, so none crosses a splice of folds.
            layout: groups, books and steps.
            guards: limits.
            costs: fees and lots.
            reward: what is paid.
            seed: of start rows, group by group, and of starting weights, book by book; drawn on the CPU, so they do
                not depend on `device`.
            device: where the books and the prices are.

        Raises:
            ValueError: the span leaves the data or is shorter than one episode.
        """
        if not 0 <= first < last < len(close):
            raise ValueError(f"training rows {first}..{last} do not fit data of {len(close)} rows")
        if last - first < layout.episode_bars:
            raise ValueError(
                f"rows {first}..{last} are fewer than one episode of {layout.episode_bars} bars; shorten the episode"
            )
        self.layout, self.guards, self.costs, self.reward = layout, guards, costs, reward
        self.first, self.last = first, last
        self.device = device
        self._open, self._close = torch.from_numpy(open_).to(device), torch.from_numpy(close).to(device)
        self._tradable = torch.from_numpy(tradable).double().to(device)
        self._equal_weight = torch.log((self._close[1:] / self._close[:-1]).mean(-1))  # [T - 1], of bar t + 1
        self.reset(seed=seed)

    def reset(self, *, seed: int) -> None:
        """Forget everything: new start rows and new accounts, as if just made with `seed`."""
        groups, books, tickers = self.layout.timestamps, self.layout.books, self._close.shape[1]
        self._keys = torch.tensor([derive_seed(seed, "starts"), derive_seed(seed, "holdings")], device=CPU)
        self._begun = torch.zeros(groups, dtype=torch.long, device=CPU)  # episodes of each group
        self._opened = torch.zeros(books, dtype=torch.long, device=CPU)  # accounts of each book
        self.t = torch.zeros(groups, dtype=torch.long, device=self.device)
        # Episodes of different groups end at different rollouts, so a batch never holds one phase only.
        self._rollouts_left = torch.arange(groups, device=self.device) % (self.layout.episode_bars // self.layout.steps)
        self.book = Book.fresh(
            capital=CAPITAL, books=books, tickers=tickers, remembers=self.guards.need_memory, device=self.device
        )
        self._restart(torch.ones(groups, dtype=torch.bool, device=self.device))

    def identity(self) -> dict[str, Any]:
        """What this environment is made of, as JSON: rows, layout, rules, and a hash of its prices."""
        prices = hashlib.sha256()
        for values in (self._open, self._close, self._tradable):
            prices.update(values.cpu().numpy().tobytes())
        rules = {"layout": self.layout, "guards": self.guards, "costs": self.costs, "reward": self.reward}
        rules_json = {name: rule.model_dump(mode="json") for name, rule in rules.items()}
        return {"rows": [self.first, self.last], "prices": prices.hexdigest(), **rules_json}

    def state(self) -> dict[str, Tensor]:
        """Everything that changes from step to step, by name: `restore` goes on from it, in this process or another."""
        parts = {"t": self.t, "rollouts_left": self._rollouts_left}
        parts |= {"keys": self._keys, "begun": self._begun, "opened": self._opened}
        for name, held in (("book", self.book), ("positions", self.book.positions)):
            values = {field.name: getattr(held, field.name) for field in fields(held)}
            parts |= {f"{name}.{key}": value for key, value in values.items() if isinstance(value, Tensor)}
        return {name: value.clone() for name, value in parts.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Become what gave `state`; it must be made of the same data and settings."""
        self.t, self._rollouts_left = (state[name].to(self.device, copy=True) for name in ("t", "rollouts_left"))
        self._keys, self._begun, self._opened = (state[name].to(CPU, copy=True) for name in ("keys", "begun", "opened"))
        for name, held in (("book", self.book), ("positions", self.book.positions)):
            for field in fields(held):
                if f"{name}.{field.name}" in state:
                    # Like the old tensor, so that the layout in memory stays what makes it fast.
                    value = torch.empty_like(getattr(held, field.name)).copy_(state[f"{name}.{field.name}"])
                    setattr(held, field.name, value)

    def begin_rollout(self) -> Tensor:
        """Restart the groups whose episode is over -> rows [steps + 1, groups] that this rollout will visit."""
        over = self._rollouts_left == 0
        if over.any():
            self._restart(over)
        self._rollouts_left = torch.where(over, self.layout.episode_bars // self.layout.steps, self._rollouts_left) - 1
        return self.t + torch.arange(self.layout.steps + 1, device=self.device).unsqueeze(-1)

    def entries(self) -> Tensor:
        """Portfolio part of the observation at close(t): [B, 1 + N], float32."""
        return self.book.entries(self._per_book(self._close[self.t]))

    def step(self, action: Tensor) -> Step:
        """Decide at close(t), fill at open(t + 1), mark at close(t + 1).

        Raises:
            CappuccinoError: an action is NaN or infinite.
        """
        require_finite(action)
        outcome = play(
            self.book,
            action,
            Bar(
                close=self._per_book(self._close[self.t]),
                opening=self._per_book(self._open[self.t + 1]),
                tradable=self._per_book(self._tradable[self.t + 1]),
                after_close=self._per_book(self._close[self.t + 1]),
                benchmark=self._equal_weight[self.t].repeat_interleave(self.layout.environments),
            ),
            guards=self.guards,
            costs=self.costs,
            terms=self.reward,
        )
        self.t = self.t + 1
        # A halted book would look like any other in cash, yet never obey again: its episode is over.
        terminated = self.book.halted | (outcome.equity < RUIN * CAPITAL)
        if terminated.any():
            self._fresh(terminated)
        return Step(reward=outcome.reward, terminated=terminated, turnover=outcome.turnover)

    def market_volatility(self) -> float:
        """Standard deviation of equal weight's log-return per bar over this environment's own rows."""
        return float(self._equal_weight[self.first : self.last].std())

    def discounted_returns(self, rows: Tensor, *, discount: float) -> Tensor:
        """What each ticker goes on to earn within a rollout's rows [S + 1, G] -> [S, G, N], float32.

        It looks ahead, so it is for variance reduction in training only: nothing a policy does can change it.
        """
        returns = self._close[rows[1:]] / self._close[rows[:-1]] - 1.0
        earned = torch.zeros_like(returns)
        ahead = torch.zeros_like(returns[0])
        for step in range(len(returns) - 1, -1, -1):
            ahead = returns[step] + discount * ahead
            earned[step] = ahead
        return earned.float()

    def _per_book(self, per_group: Tensor) -> Tensor:
        """[G, N] -> [B, N], in the memory layout of a book's units."""
        groups, tickers = per_group.shape
        environments = self.layout.environments
        return per_group.t().unsqueeze(-1).expand(tickers, groups, environments).reshape(tickers, -1).t()

    def _restart(self, groups: Tensor) -> None:
        key, begun = int(self._keys[0]), self._begun.tolist()
        self.t = self.t.clone()
        for group in groups.nonzero().flatten().tolist():
            self.t[group] = self._start_row(_stream(key, group, begun[group]))
        self._begun = self._begun + groups.to(CPU)
        self._fresh(groups.repeat_interleave(self.layout.environments))

    def _start_row(self, draw: np.random.Generator) -> int:
        """First row of a new episode, which must end within the rows."""
        return self.first + int(draw.integers(self.last - self.first - self.layout.episode_bars + 1))

    def _fresh(self, books: Tensor) -> None:
        """New accounts at the books' current rows: every second one in cash, the others with random weights.

        Random holdings show the critic and the actor what selling is like from the first rollout on.
        """
        key, opened, tickers = int(self._keys[1]), self._opened.tolist(), self.book.units.shape[1]
        holding = [book for book in books.nonzero().flatten().tolist() if book % 2]
        share = torch.zeros_like(self.book.units)
        if holding:
            places = [divmod(book, self.layout.environments) for book in holding]  # (group, environment in it)
            indices = [(group << 32) + environment for group, environment in places]
            streams = [_stream(key, index, opened[book]) for book, index in zip(holding, indices, strict=True)]
            drawn = np.array([stream.random(1 + tickers) for stream in streams])
            weights = drawn[:, 1:] / drawn[:, 1:].sum(1, keepdims=True) * drawn[:, :1]
            weights = weights.clip(max=self.guards.max_weight) * (1 - self.guards.min_cash)
            share[torch.tensor(holding, device=self.device)] = torch.from_numpy(weights).to(self.device)
        self._opened = self._opened + books.to(CPU)
        self.book.reopen(books, capital=CAPITAL, share=share, close=self._per_book(self._close[self.t]))


def _stream(key: int, index: int, count: int) -> np.random.Generator:
    """Random numbers of the `count`-th beginning of group or book `index`; nothing has to be kept but the count."""
    return np.random.Generator(np.random.Philox(key=[key, index], counter=[0, count, 0, 0]))


def require_finite(action: Tensor) -> None:
    """Refuse NaN and infinite actions before they touch a book.

    Raises:
        CappuccinoError: there is one.
    """
    # The largest and the smallest say it all, NaN included, and cost a tenth of looking at each.
    if not math.isfinite(float(action.amax())) or not math.isfinite(float(action.amin())):
        raise CappuccinoError("an action is NaN or infinite; the policy has diverged, lower learning_rate")
