"""The environment checker shipped with the library: repeatable, fresh after reset, exact in money, blind to the future.

It plays an environment with random actions and knows nothing of how it is made. Rules that need other prices build it
again on an altered market, so what is passed is a function that makes one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cappuccino_ml.core import CappuccinoError, Settings
from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.episodes import Episodes
from cappuccino_ml.environment.portfolio import Book
from cappuccino_ml.environment.vector import VectorEnv
from cappuccino_ml.features import MarketTable

_CUTS = (0.2, 0.5, 0.8)  # shares of the steps played at which the future is poisoned
_EXACT = 1e-9  # share of equity that rounding may explain

Kind = Literal[
    "not_repeatable", "seed_ignored", "books_identical", "left_over", "accounting", "bounds", "not_finite",
    "accepts_nan", "sees_the_future",
]  # fmt: skip


class EnvironmentFinding(Settings):
    """One rule that is broken."""

    kind: Kind
    message: str


class EnvironmentReport(Settings):
    """What `check_environment` found in `steps` steps of `books` books."""

    books: int
    steps: int
    findings: tuple[EnvironmentFinding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


class Playable(Protocol):
    """What the checker needs of an environment of B books."""

    costs: Costs

    @property
    def book(self) -> Book:
        """The accounts."""
        ...

    @property
    def rows(self) -> Tensor:
        """Row of the market at whose close each book stands, [B]."""
        ...

    def reset(self, *, seed: int) -> NDArray[np.float32]:
        """Forget everything -> observation [B, D]."""
        ...

    def step(self, action: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
        """Observation [B, D] and reward [B] after one bar, and which books were replaced by fresh ones [B]."""
        ...


@dataclass(frozen=True)
class _Play:
    """K steps as they were seen; row k of a list is before step k, the last one after the last step."""

    observations: list[NDArray[np.float32]]
    rewards: list[NDArray[np.float64]]
    rows: list[Tensor]

    def same_until(self, other: "_Play", step: int) -> bool:
        """Whether nothing differs in the first `step` steps."""
        seen = zip(self.observations[: step + 1], other.observations[: step + 1], strict=True)
        paid = zip(self.rewards[:step], other.rewards[:step], strict=True)
        return all(np.array_equal(*pair) for pair in seen) and all(np.array_equal(*pair) for pair in paid)


def check_environment(
    make: Callable[[MarketTable], Playable], market: MarketTable, *, steps: int = 64, seed: int = 0
) -> EnvironmentReport:
    """Play the environment that `make` builds on `market`, and on markets whose future is garbage.

    Args:
        make: market -> a new environment; `of_episodes` and `of_rollouts` make ours fit.
        market: at least one row must lie behind the environment's last one, so that there is a future to poison.
        steps: bars to play per rule.
        seed: of episodes and actions.
    """
    env = make(market)
    env.reset(seed=seed)
    books, tickers = env.book.units.shape
    actions = 2 * torch.randn(steps, books, tickers, generator=torch.Generator().manual_seed(seed))
    findings: list[EnvironmentFinding] = []

    def found(kind: Kind, message: str) -> None:
        findings.append(EnvironmentFinding(kind=kind, message=message))

    first = _play(env, actions, seed=seed)
    if not first.same_until(_play(make(market), actions, seed=seed), steps):
        found("not_repeatable", f"two environments with seed {seed} and the same actions differ within {steps} steps.")
    elif not first.same_until(_play(env, actions, seed=seed), steps):
        found("left_over", "after reset, an environment that has been played differs from a new one.")
    if first.same_until(_play(make(market), actions, seed=seed + 1), steps):
        found("seed_ignored", f"seeds {seed} and {seed + 1} give the same {steps} steps.")
    if books > 1 and all(len(np.unique(seen, axis=0)) == 1 for seen in first.observations):
        found("books_identical", f"all {books} books see the same at every step.")
    if not np.isfinite(np.concatenate(first.observations)).all() or not np.isfinite(first.rewards).all():
        found("not_finite", "an observation or a reward is not finite.")
    findings += _money(make(market), market, actions, seed=seed)
    findings += _refusal(make(market), actions[0], seed=seed)
    for cut in sorted({int(share * steps) for share in _CUTS}):
        row = int(torch.stack([*(rows + 1 for rows in first.rows[:cut]), first.rows[cut]]).max())
        if not first.same_until(_play(make(_poisoned(market, after=row)), actions[:cut], seed=seed), cut):
            found("sees_the_future", f"garbage after row {row} changes what is seen or paid up to row {row}.")
            break
    return EnvironmentReport(books=books, steps=steps, findings=tuple(findings))


def _play(env: Playable, actions: Tensor, *, seed: int) -> _Play:
    observations, rewards, rows = [env.reset(seed=seed).copy()], [], [env.rows.clone()]
    for action in actions:
        observation, reward, _ = env.step(action)
        observations.append(observation.copy())
        rewards.append(reward.copy())
        rows.append(env.rows.clone())
    return _Play(observations, rewards, rows)


def _money(env: Playable, market: MarketTable, actions: Tensor, *, seed: int) -> list[EnvironmentFinding]:
    """Cash moves by what was traded at the next open and its costs, nothing else; nothing is owed."""
    env.reset(seed=seed)
    costs, opens, closes = env.costs, torch.from_numpy(market.open), torch.from_numpy(market.close)
    for step, action in enumerate(actions):
        cash, units, rows = env.book.cash.clone(), env.book.units.clone(), env.rows.clone()
        *_, replaced = env.step(action)
        if bool((env.book.cash < 0).any()) or bool((env.book.units < 0).any()):
            message = f"at step {step} a book owes cash or coins."
            return [EnvironmentFinding(kind="bounds", message=message)]
        kept = torch.from_numpy(~replaced)
        traded = env.book.units - units
        paid = traded.clamp(min=0) / costs.coin_factor * costs.buy_factor + traded.clamp(max=0) * costs.sell_factor
        owed = (cash - (paid * opens[rows + 1]).sum(-1) - env.book.cash).abs()
        wrong = kept & (owed > _EXACT * (cash + (units * closes[rows]).sum(-1)))
        if bool(wrong.any()):
            book = int(wrong.nonzero()[0])
            message = f"at step {step} the cash of book {book} is {float(owed[book]):g} off what its trades explain."
            return [EnvironmentFinding(kind="accounting", message=message)]
    return []


def _refusal(env: Playable, action: Tensor, *, seed: int) -> list[EnvironmentFinding]:
    for bad in (torch.nan, torch.inf):
        env.reset(seed=seed)
        units, rows, spoilt = env.book.units.clone(), env.rows.clone(), action.clone()
        spoilt[0, 0] = bad
        try:
            env.step(spoilt)
        except CappuccinoError:
            if torch.equal(env.book.units, units) and torch.equal(env.rows, rows):
                continue
        message = f"an action of {bad} is not refused before anything changes."
        return [EnvironmentFinding(kind="accepts_nan", message=message)]
    return []


def _poisoned(market: MarketTable, *, after: int) -> MarketTable:
    """The market up to row `after`, then garbage: prices and features at a thousand times their size, marks flipped."""
    noise = np.random.default_rng(0).uniform(500, 2000, market.close.shape)

    def spoil(values: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([values[: after + 1], values[after + 1 :] * factor[after + 1 :] + 1.0])

    return replace(
        market,
        open=spoil(market.open, noise),
        close=spoil(market.close, noise[::-1]),
        features=spoil(market.features, noise[..., None]),
        tradable=np.concatenate([market.tradable[: after + 1], ~market.tradable[after + 1 :]]),
    )


@dataclass
class of_episodes:  # noqa: N801 - reads as the function it is used as
    """`Episodes` as the checker plays them: a book that ends is restarted at once."""

    episodes: Episodes

    def __post_init__(self) -> None:
        self.costs = self.episodes.costs

    @property
    def book(self) -> Book:
        """The accounts."""
        return self.episodes.book

    @property
    def rows(self) -> Tensor:
        """Row of each book, [B]."""
        return self.episodes.rows

    def reset(self, *, seed: int) -> NDArray[np.float32]:
        """Forget everything -> observation [B, D]."""
        return self.episodes.reset(seed=seed)

    def step(self, action: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
        """One bar; see `Playable`."""
        moment = self.episodes.step(action)
        over = moment.terminated | moment.truncated
        return (self.episodes.restart(over) if over.any() else moment.observation), moment.reward, over


@dataclass
class of_rollouts:  # noqa: N801
    """A `VectorEnv` as the checker plays it: what is seen is the row and the portfolio entries."""

    env: VectorEnv

    def __post_init__(self) -> None:
        self.costs = self.env.costs

    @property
    def book(self) -> Book:
        """The accounts."""
        return self.env.book

    @property
    def rows(self) -> Tensor:
        """Row of each book, [B]."""
        return self.env.t.repeat_interleave(self.env.layout.environments)

    def reset(self, *, seed: int) -> NDArray[np.float32]:
        """Forget everything -> observation [B, 2 + N]."""
        self.env.reset(seed=seed)
        self._played = 0
        self.env.begin_rollout()
        return self._seen()

    def step(self, action: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
        """One bar; see `Playable`."""
        outcome = self.env.step(action)
        replaced, self._played = outcome.terminated, self._played + 1
        if self._played % self.env.layout.steps == 0:
            self.env.begin_rollout()
            replaced = torch.ones_like(replaced)  # which of them begin an episode is not said
        return self._seen(), outcome.reward.sum(-1).numpy(), replaced.numpy()

    def _seen(self) -> NDArray[np.float32]:
        return np.concatenate([self.rows.numpy()[:, None], self.env.entries().numpy()], axis=1, dtype=np.float32)
