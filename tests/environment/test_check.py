"""The checker passes our environments and finds each rule broken where it is broken on purpose."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.environment import (
    Costs,
    Episodes,
    Guards,
    Layout,
    Playable,
    Reward,
    VectorEnv,
    check_environment,
    of_episodes,
    of_rollouts,
)
from cappuccino_ml.features import FEATURES, FeatureSchema, MarketTable

RISKY = Guards(max_step=0.5, stop_loss=0.03, trailing_stop=0.04, min_holding_bars=2, cooldown_bars=3, max_drawdown=0.2)
VENUE = Costs(fee_in_coin=True, slippage_bps=4, increment=(1e-6, 1e-4, 1e-3))
ALL_TERMS = Reward(
    benchmark="equal_weight", turnover_penalty=0.01, concentration_penalty=0.001, drawdown_penalty=0.1
)  # fmt: skip


@pytest.fixture(scope="module")
def table(make_market) -> MarketTable:
    market = make_market(seed=0, bars=200)
    universe = Universe(tickers=("BTC", "ETH", "UNI"))
    return MarketTable(
        schema=FeatureSchema.of(universe),
        timestamps=np.datetime64("2024-01-01", "us") + np.arange(200) * np.timedelta64(universe.bar),
        features=np.random.default_rng(0).standard_normal((200, 3, len(FEATURES))),
        open=market.open,
        close=market.close,
        tradable=market.tradable,
        warm_up=0,
    )


def arrays(table: MarketTable) -> dict[str, np.ndarray]:
    return {"open_": table.open, "close": table.close, "tradable": table.tradable}


def episodes(table: MarketTable, *, cls: type[Episodes] = Episodes, **settings) -> Playable:
    settings = {"guards": RISKY, "costs": VENUE, "reward": ALL_TERMS, "books": 4, "first": 2, "last": 150, **settings}
    features = table.features.astype(np.float32)
    return of_episodes(cls(features=features, episode_bars=40, **settings, **arrays(table)))


def rollouts(table: MarketTable, *, cls: type[VectorEnv] = VectorEnv, **settings) -> Playable:
    settings = {"guards": RISKY, "costs": VENUE, "reward": ALL_TERMS, **settings}
    layout = Layout(timestamps=2, environments=4, steps=10, episode_bars=40)
    return of_rollouts(cls(layout=layout, first=2, last=150, seed=0, **settings, **arrays(table)))


OURS: dict[str, Callable[[MarketTable], Playable]] = {
    "episodes": episodes,
    "one episode": lambda table: episodes(table, books=1),
    "random holdings": lambda table: episodes(table, random_holdings=True),
    "lookback 10": lambda table: episodes(table, lookback=10, first=9),
    "plain episodes": lambda table: episodes(table, guards=Guards(), costs=Costs(), reward=Reward()),
    "rollouts": rollouts,
    "plain rollouts": lambda table: rollouts(table, guards=Guards(), costs=Costs(), reward=Reward()),
}


@pytest.mark.parametrize("name", OURS)
def test_our_environments_pass(table, name):
    report = check_environment(OURS[name], table)
    assert report.findings == ()
    assert report.passed
    assert report.steps == 64


class Forgetful(Episodes):
    """Keeps its cash through a reset."""

    def restart(self, which, streams=None):
        cash = self.book.cash.clone() if hasattr(self, "book") else None
        super().restart(which, streams)
        if cash is not None:
            self.book.cash = cash
        return self.observation()


class Dice(Episodes):
    """Rolls a die that nobody seeded."""

    def step(self, action):
        return super().step(action + torch.randn(action.shape))


class OneSeed(Episodes):
    def reset(self, *, seed):
        return super().reset(seed=0)


class Clones(Episodes):
    """Defect 13: every book starts in the same place and plays the first one's actions."""

    def reset(self, *, seed):
        return self.restart(np.ones(self.books, bool), [np.random.default_rng(seed) for _ in range(self.books)])

    def step(self, action):
        return super().step(action[:1].expand_as(action))


class Leak(Episodes):
    """A fee nobody knows of."""

    def step(self, action):
        moment = super().step(action)
        self.book.cash = self.book.cash * 0.9999
        return moment


class Debtor(Episodes):
    """Pays with money it does not have."""

    def step(self, action):
        moment = super().step(action)
        self.book.cash[0] = -1.0
        return moment


class NotANumber(Episodes):
    def observation(self):
        seen = super().observation()
        seen[0, -1] = np.nan
        return seen


class Obliging(Episodes):
    """Makes something of everything."""

    def step(self, action):
        return super().step(torch.nan_to_num(action, posinf=1.0))


class Prophet(Episodes):
    """Shows the bar that is forming."""

    def observation(self):
        self._windows, kept = self._windows[1:], self._windows
        seen = super().observation()
        self._windows = kept
        return seen


class PaidAhead(VectorEnv):
    """Pays the market's next return, a bar early."""

    def step(self, action):
        outcome = super().step(action)
        outcome.reward.add_(self._per_book(self._close[self.t + 1] / self._close[self.t]) - 1)
        return outcome


BROKEN = {
    Forgetful: "left_over", Dice: "not_repeatable", OneSeed: "seed_ignored", Clones: "books_identical",
    Leak: "accounting", Debtor: "bounds", NotANumber: "not_finite", Obliging: "accepts_nan",
    Prophet: "sees_the_future", PaidAhead: "sees_the_future",
}  # fmt: skip


@pytest.mark.parametrize("cls", BROKEN)
def test_each_rule_is_found_where_it_is_broken(table, cls):
    def make(market: MarketTable) -> Playable:
        return rollouts(market, cls=cls) if issubclass(cls, VectorEnv) else episodes(market, cls=cls)

    report = check_environment(make, table)
    assert BROKEN[cls] in {finding.kind for finding in report.findings}
    assert not report.passed
    assert all(finding.message.endswith(".") for finding in report.findings)
