"""The timing contract as a policy feels it: what it may know, when it fills, what it costs."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cappuccino_ml.environment import Act, Backtest, Costs, Guards, Layout, Reward, VectorEnv, backtest

FREE = Costs(fee_bps=0, min_notional=0)
LOOSE = Guards(max_step=1, dead_band=0, min_cash=0, max_weight=1, max_drawdown=0.99)


def run(market, act: Act, *, last: int | None = None, guards=LOOSE, costs=FREE, **options) -> Backtest:
    last = len(market.close) - 1 if last is None else last
    options = {"first": 0, **options}
    return backtest(act=act, last=last, guards=guards, costs=costs, **market.arrays(), **options)


def oracle(market) -> Act:
    """All in on the ticker that will rise most between the next open and the next close, out of the others."""

    def act(t, _entries):
        gain = market.close[t + 1] / market.open[t + 1] - 1
        return np.where((gain == gain.max()) & (gain > 0), 1.0, -1.0)

    return act


def test_a_one_bar_ahead_oracle_gets_rich_and_one_that_fills_a_bar_late_does_not(make_market):
    market = make_market(seed=1, bars=1000, tickers=2, gap=0.0, filled=0.0)
    rich, late = (run(market, oracle(market), lag=lag).equity[-1] / 100_000 for lag in (0, 1))
    assert rich > 1000
    assert late < 10


def test_the_same_oracle_fed_features_one_bar_late_earns_nothing(make_market):
    market = make_market(seed=1, bars=1000, tickers=2, gap=0.0, filled=0.0)
    ahead = oracle(market)
    stale = run(market, lambda t, entries: ahead(max(t - 1, 0), entries))
    standard_error = stale.returns.std() / len(stale.returns) ** 0.5
    assert abs(stale.returns.mean()) < 3 * standard_error


def test_buy_and_hold_earns_the_index_less_one_fee(make_market):
    market = make_market(seed=2, gap=0.0, filled=0.0)
    costs = Costs(fee_bps=25, slippage_bps=5, min_notional=0)
    result = run(market, lambda t, _: np.full(3, 1 / 3 if t == 0 else 0.0), costs=costs)
    index = (market.close[-1] / market.open[1]).mean()
    assert result.equity[-1] == pytest.approx(100_000 * index / costs.buy_factor, rel=1e-6)
    assert result.turnover[0] == pytest.approx(1 / costs.buy_factor, rel=1e-6)
    assert not result.orders[1:].any()


def test_a_random_agent_loses_its_turnover_times_the_fee_on_a_driftless_market(make_market):
    market = make_market(seed=3, bars=2000, volatility=0.002, gap=0.0, filled=0.0)
    random = np.random.default_rng(0)
    result = run(
        market, lambda t, _: random.uniform(-1, 1, 3), guards=Guards(max_drawdown=0.99), costs=Costs(fee_bps=5)
    )
    unexplained = result.returns + result.turnover * 5e-4
    assert result.turnover.mean() > 0.02
    assert abs(unexplained.mean()) < 3 * unexplained.std() / len(unexplained) ** 0.5
    assert result.returns.mean() == pytest.approx(-result.turnover.mean() * 5e-4, rel=0.5)


def test_on_a_flat_market_every_loss_is_turnover_times_the_fee(make_market):
    market = make_market(seed=3, bars=200, volatility=0.0, gap=0.0, filled=0.0)
    random = np.random.default_rng(0)
    result = run(market, lambda t, _: random.uniform(-1, 1, 3), costs=Costs(fee_bps=25))
    np.testing.assert_allclose(result.returns, -result.turnover * 25e-4, rtol=1e-6, atol=1e-12)


def test_defect_02_an_order_decided_at_close_t_fills_at_open_t_plus_1(make_market):
    market = make_market(seed=4, gap=0.05, filled=0.0)
    result = run(market, lambda t, _: np.array([0.5, 0, 0]) * (t == 10))
    units = result.orders[10, 0]
    assert units == pytest.approx(50_000 / market.close[10, 0], abs=1e-5)  # sized at close(t)
    cash = 100_000 - units * market.open[11, 0]  # paid at open(t+1)
    np.testing.assert_allclose(result.equity[:11], 100_000)
    np.testing.assert_allclose(result.equity[11:], cash + units * market.close[11:, 0], rtol=1e-12)


def test_defect_02_nothing_fills_at_a_filled_bar(make_market):
    market = make_market(seed=5, filled=0.4)
    random = np.random.default_rng(0)
    result = run(market, lambda t, _: random.uniform(-1, 1, 3))
    assert not result.orders[~market.tradable[1:]].any()
    assert result.orders[market.tradable[1:]].any()


def test_a_policy_sees_its_own_weights_and_nothing_of_bars_to_come(make_market):
    market = make_market(seed=6)
    cut = type(market)(open=market.open[:31], close=market.close[:31], tradable=market.tradable[:31])

    def recorder(seen: list) -> Act:
        def act(_t, entries):
            seen.append(entries.copy())
            return entries[1:] - 0.3

        return act

    whole, past = [], []
    long, short = run(market, recorder(whole)), run(cut, recorder(past))
    np.testing.assert_array_equal(long.equity[:31], short.equity)
    np.testing.assert_array_equal(whole[:30], past)
    np.testing.assert_allclose(np.array(whole)[1:, 1:], long.weights[:-1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.array(whole).sum(-1), 1.0, rtol=1e-6)


def test_a_halted_book_sells_at_the_next_open_that_trades_and_never_buys_again(make_market):
    market = make_market(seed=7, volatility=0.0, gap=0.0, filled=0.0)
    prices = market.close.copy()
    prices[20:] *= 0.5
    tradable = market.tradable.copy()
    tradable[21:23] = False
    crash = type(market)(open=prices, close=prices, tradable=tradable)
    result = run(crash, lambda t, _: np.ones(3), guards=LOOSE.model_copy(update={"max_step": 0.1, "max_drawdown": 0.3}))
    assert (result.orders[:20] >= 0).all()
    assert not result.orders[20:22].any()
    assert (result.orders[22] < 0).all()
    assert not result.weights[22:].any()
    assert not result.orders[23:].any()


@settings(max_examples=15)
@given(actions=arrays(np.float64, (24, 3), elements=st.floats(-2, 2)), seed=st.integers(0, 5))
def test_training_and_backtest_give_the_same_equity_for_the_same_actions(make_market, actions, seed):
    import torch

    market, guards, costs = make_market(seed=seed, bars=40), Guards(max_step=0.4, max_drawdown=0.3), Costs()
    layout = Layout(timestamps=2, environments=2, steps=24, episode_bars=24)
    env = VectorEnv(
        layout=layout, first=5, last=29, guards=guards, costs=costs, reward=Reward(), seed=0, **market.arrays()
    )
    env.begin_rollout()
    rewards = [env.step(torch.from_numpy(action).expand(4, 3)).reward.sum(-1) for action in actions]
    alone = run(market, lambda t, _: actions[t - 5], first=5, last=29, guards=guards, costs=costs)
    for cash_book in (0, 2):
        log_returns = torch.stack(rewards)[:, cash_book].numpy()
        np.testing.assert_allclose(np.exp(log_returns.cumsum()), alone.equity[1:] / 1e5, rtol=1e-11)
        assert float(env.book.equity(env._close[29])[cash_book]) == alone.equity[-1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused_with_its_row(make_market, bad):
    with pytest.raises(ValueError, match="row 3 is not finite"):
        run(make_market(seed=0), lambda t, _: np.array([0.1, bad if t == 3 else 0.1, 0.1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first": -1, "last": 5}, "rows -1..5 does not fit data of 64 rows"),
        ({"first": 5, "last": 5}, "rows 5..5"),
        ({"first": 5, "last": 64}, "rows 5..64"),
        ({"lag": -1}, "lag of -1 bars"),
    ],
)
def test_a_span_that_leaves_the_data_is_refused(make_market, options, message):
    with pytest.raises(ValueError, match=message):
        run(make_market(seed=0), lambda t, _: np.zeros(3), **options)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 3)])
def test_an_action_of_another_shape_is_refused_rather_than_broadcast(make_market, shape):
    silent: Callable[..., np.ndarray] = lambda t, _: np.zeros(shape)  # noqa: E731
    with pytest.raises(ValueError, match="shape"):
        run(make_market(seed=0), silent)
