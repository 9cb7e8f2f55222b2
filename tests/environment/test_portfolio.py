"""The accounting of one decision: what no action, price or cost can break."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from cappuccino_ml.environment import Book, Costs, Guards, decide, settle, shrink_buys

from .twin import Twin

FREE = Costs(fee_bps=0, slippage_bps=0, min_notional=0, increment=1e-6)
LOOSE = Guards(max_step=1, dead_band=0, min_cash=0, max_weight=1, max_drawdown=0.99)

any_guards = st.builds(
    Guards,
    max_step=st.floats(0.01, 1),
    dead_band=st.floats(0, 0.1),
    min_cash=st.floats(0, 0.5),
    max_weight=st.floats(0.05, 1),
    max_drawdown=st.floats(0.02, 0.9),
    stop_loss=st.sampled_from([0.0, 0.01, 0.1]),
    trailing_stop=st.sampled_from([0.0, 0.01, 0.1]),
    min_holding_bars=st.integers(0, 4),
    cooldown_bars=st.integers(0, 4),
)
any_costs = st.builds(
    Costs,
    fee_bps=st.floats(0, 200),
    fee_in_coin=st.booleans(),
    slippage_bps=st.floats(0, 100),
    min_notional=st.floats(0, 100) | st.just((0.0, 10.0, 100.0)),
    increment=st.sampled_from([1e-8, 1e-4, 0.1, (1e-8, 1e-4, 0.1)]),
)
# Every guard and cost on, at numbers that no price meets exactly.
risky_guards = st.builds(
    Guards,
    max_step=st.sampled_from([0.1, 0.7]),
    max_drawdown=st.sampled_from([0.0531, 0.99]),
    stop_loss=st.sampled_from([0.0, 0.0117]),
    trailing_stop=st.sampled_from([0.0, 0.0213]),
    min_holding_bars=st.sampled_from([0, 3]),
    cooldown_bars=st.sampled_from([0, 2]),
)
venue_costs = st.builds(
    Costs,
    slippage_bps=st.just(3.0),
    fee_in_coin=st.booleans(),
    increment=st.sampled_from([1e-4, (1e-6, 1e-4, 1e-3)]),
    min_notional=st.sampled_from([10.0, (5.0, 10.0, 200.0)]),
)
any_actions = arrays(np.float64, (12, 3), elements=st.floats(allow_nan=False, allow_infinity=False))
# Off every threshold: at a knife's edge two exact methods may round to either side, and both are right.
plain_actions = arrays(np.int64, (12, 3), elements=st.integers(-1500, 1500)).map(lambda k: (k + 0.37) / 1000)


def tensors(market: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(market.open), torch.from_numpy(market.close), torch.from_numpy(market.tradable)


def book(*, cash: float, units: list[float], peak: float = 0.0, halted: bool = False) -> Book:
    account = Book.fresh(capital=cash, books=1, tickers=len(units))
    account.units[0] = torch.tensor(units, dtype=torch.float64)
    account.peak[0], account.halted[0] = peak, halted
    return account


def wish(*action: float) -> Tensor:
    return torch.tensor([action], dtype=torch.float64)


@settings(max_examples=40)
@given(actions=any_actions, guards=any_guards, costs=any_costs, seed=st.integers(0, 9))
def test_defect_12_cash_never_negative_and_weights_never_above_one(make_market, actions, guards, costs, seed):
    opens, closes, tradable = tensors(make_market(seed=seed, volatility=0.1, gap=0.1))
    account = Book.fresh(capital=1000.0, books=1, tickers=3)
    for t, action in enumerate(torch.from_numpy(actions)):
        orders = decide(account, action.unsqueeze(0), closes[t], guards=guards, costs=costs)
        settle(account, orders, opens[t + 1], tradable[t + 1], costs=costs)
        account.mark(closes[t + 1], guards)
        weights = account.units * closes[t + 1] / account.equity(closes[t + 1])
        assert account.cash.min() >= 0
        assert account.units.min() >= 0
        assert weights.max() <= 1
        assert weights.sum() <= 1 + 1e-12


@settings(max_examples=40)
@given(actions=any_actions, guards=any_guards, costs=any_costs, seed=st.integers(0, 9))
def test_equity_changes_only_by_prices_fees_and_slippage(make_market, actions, guards, costs, seed):
    opens, closes, tradable = tensors(make_market(seed=seed))
    account = Book.fresh(capital=1e5, books=1, tickers=3)
    for t, action in enumerate(torch.from_numpy(actions)):
        before, held = account.equity(closes[t]), account.units
        orders = decide(account, action.unsqueeze(0), closes[t], guards=guards, costs=costs)
        filled = settle(account, orders, opens[t + 1], tradable[t + 1], costs=costs)
        traded = filled.abs() * opens[t + 1]
        taken = 1 - costs.coin_factor  # out of the coins bought
        paid = torch.where(filled > 0, traded * (costs.buy_factor - 1 + taken), traded * (1 - costs.sell_factor))
        moved = held * (opens[t + 1] - closes[t]) + account.units * (closes[t + 1] - opens[t + 1])
        assert float(account.mark(closes[t + 1], guards)) == pytest.approx(
            float(before + (moved - paid).sum()), rel=1e-10
        )


@settings(max_examples=60)
@given(actions=plain_actions, seed=st.integers(0, 9), guards=risky_guards, costs=venue_costs)
def test_a_scalar_decimal_twin_agrees_to_1e_9(make_market, actions, seed, guards, costs):
    market = make_market(seed=seed)
    opens, closes, tradable = tensors(market)
    account = Book.fresh(capital=1e5, books=1, tickers=3)
    twin = Twin.fresh(capital=100_000, tickers=3, guards=guards, costs=costs)
    for t, action in enumerate(actions):
        orders = decide(account, torch.from_numpy(action).unsqueeze(0), closes[t], guards=guards, costs=costs)
        settle(account, orders, opens[t + 1], tradable[t + 1], costs=costs)
        equity = account.mark(closes[t + 1], guards)
        bar = market.close[t], market.open[t + 1], market.tradable[t + 1], market.close[t + 1]
        assert float(equity) == pytest.approx(float(twin.step(action, bar)), rel=1e-9)
        np.testing.assert_allclose(account.units[0].numpy(), twin.units, rtol=1e-9, atol=1e-9)
        assert float(account.cash[0]) == pytest.approx(float(twin.cash), rel=1e-9, abs=1e-6)
        assert bool(account.halted[0]) is twin.halted
        for name in ("entry", "high", "bars", "cooldown", "stopped"):
            ours, theirs = getattr(account.positions, name)[0], [float(getattr(one, name)) for one in twin.positions]
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, err_msg=f"{name} after bar {t}")


@settings(max_examples=30)
@given(
    actions=plain_actions,
    order=st.permutations(range(3)),
    seed=st.integers(0, 9),
    guards=risky_guards,
    costs=venue_costs,
)
def test_permuting_tickers_permutes_results(make_market, actions, order, seed, guards, costs):
    prices = tensors(make_market(seed=seed))

    def permuted(rule: Any, order: list[int]) -> Any:
        return tuple(rule[i] for i in order) if isinstance(rule, tuple) else rule

    def run(order: list[int]) -> Book:
        opens, closes, tradable = (x[:, order] for x in prices)
        rules = {name: permuted(getattr(costs, name), order) for name in ("increment", "min_notional")}
        venue = costs.model_copy(update=rules)
        account = Book.fresh(capital=1e5, books=1, tickers=3)
        for t, action in enumerate(torch.from_numpy(actions[:, order])):
            orders = decide(account, action.unsqueeze(0), closes[t], guards=guards, costs=venue)
            settle(account, orders, opens[t + 1], tradable[t + 1], costs=venue)
            account.mark(closes[t + 1], guards)
        return account

    straight, other = run([0, 1, 2]), run(list(order))
    torch.testing.assert_close(other.units, straight.units[:, list(order)], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other.cash, straight.cash, rtol=1e-9, atol=1e-6)
    for name in ("entry", "high", "bars", "cooldown", "stopped"):
        one, two = getattr(straight.positions, name), getattr(other.positions, name)
        torch.testing.assert_close(two, one[:, list(order)], rtol=1e-9, atol=1e-9)


@settings(max_examples=12)
@given(
    actions=arrays(np.float64, (12, 8, 7), elements=st.floats(-2, 2)),
    seed=st.integers(0, 9),
    guards=risky_guards,
    coin=st.booleans(),
)
def test_a_book_in_a_batch_is_bit_identical_to_the_same_book_alone(make_market, actions, seed, guards, coin):
    opens, closes, tradable = tensors(make_market(seed=seed, tickers=7))
    costs = Costs(slippage_bps=3, fee_in_coin=coin)
    batch = Book.fresh(capital=1e5, books=8, tickers=7)
    alone = [Book.fresh(capital=1e5, books=1, tickers=7) for _ in range(8)]
    for t, action in enumerate(torch.from_numpy(actions)):
        for account, wished in [(batch, action), *zip(alone, action.split(1), strict=True)]:
            orders = decide(account, wished, closes[t], guards=guards, costs=costs)
            settle(account, orders, opens[t + 1], tradable[t + 1], costs=costs)
            account.mark(closes[t + 1], guards)
    for name in ("cash", "units", "peak", "worst", "halted"):
        assert torch.equal(getattr(batch, name), torch.cat([getattr(one, name) for one in alone])), name
    for name in ("entry", "high", "bars", "cooldown", "stopped"):
        together = torch.cat([getattr(one.positions, name) for one in alone])
        assert torch.equal(getattr(batch.positions, name), together), name


@pytest.mark.parametrize("guards", [Guards(max_step=0.4), Guards(max_step=0.4, max_drawdown=0.05, min_holding_bars=1)])
def test_a_book_that_need_not_remember_trades_alike_whether_it_does_or_not(make_market, guards):
    assert not guards.need_memory
    opens, closes, tradable = tensors(make_market(seed=0))
    books = [Book.fresh(capital=1e5, books=4, tickers=3, remembers=remembers) for remembers in (True, False)]
    random = torch.Generator().manual_seed(0)
    for t in range(40):
        action = torch.randn(4, 3, generator=random)
        for one in books:
            orders = decide(one, action, closes[t], guards=guards, costs=Costs())
            settle(one, orders, opens[t + 1], tradable[t + 1], costs=Costs())
            one.mark(closes[t + 1], guards)
        assert torch.equal(books[0].units, books[1].units)
        assert torch.equal(books[0].cash, books[1].cash)
        assert torch.equal(books[0].positions.entry > 0, books[0].units > 0)
    assert not books[1].positions.entry.any()


@pytest.mark.parametrize("name", ["stop_loss", "trailing_stop", "min_holding_bars", "cooldown_bars"])
def test_every_guard_that_goes_by_a_position_needs_memory(name):
    assert Guards.model_validate({name: 2 if name.endswith("bars") else 0.1}).need_memory


def test_defect_02_no_order_fills_at_a_filled_bar_and_fills_pay_the_next_open():
    account = book(cash=1000.0, units=[0.0, 4.0])
    close, opening = torch.tensor([10.0, 50.0]).double(), torch.tensor([12.0, 55.0]).double()
    orders = torch.tensor([[20.0, -4.0]], dtype=torch.float64)
    filled = settle(account, orders, opening, torch.tensor([True, False]), costs=FREE)
    assert filled.tolist() == [[20.0, 0.0]]
    assert account.cash.item() == pytest.approx(1000.0 - 20 * 12.0)  # not 20 * close
    assert account.units.tolist() == [[20.0, 4.0]]
    assert not torch.equal(opening, close)


def test_defect_03_forced_sells_ignore_max_step():
    price = torch.tensor([10.0, 20.0], dtype=torch.float64)
    account = book(cash=0.0, units=[500.0, 250.0], peak=20_000.0)
    guards = Guards(max_step=0.01, max_drawdown=0.5)
    account.mark(price, guards)
    assert account.halted.item()
    orders = decide(account, wish(1.0, 1.0), price, guards=guards, costs=FREE)
    assert orders.tolist() == [[-500.0, -250.0]]


def test_the_drawdown_halt_is_latched_and_forgets_nothing_when_prices_recover():
    guards = Guards(max_drawdown=0.2)
    account = book(cash=0.0, units=[10.0], peak=1000.0)
    for price, halted in [(81.0, False), (80.0, True), (500.0, True)]:
        account.mark(torch.tensor([price], dtype=torch.float64), guards)
        assert account.halted.item() is halted
    assert account.peak.item() == 5000.0
    assert decide(account, wish(1.0), torch.tensor([500.0]).double(), guards=guards, costs=FREE).item() == -10.0


def test_changes_inside_the_dead_band_are_not_traded():
    account, price = book(cash=500.0, units=[5.0]), torch.tensor([100.0], dtype=torch.float64)
    guards = LOOSE.model_copy(update={"dead_band": 0.02, "max_step": 0.1})
    for action, traded in [(0.19, False), (-0.19, False), (0.21, True), (-0.21, True)]:
        assert bool(decide(account, wish(action), price, guards=guards, costs=FREE).any()) is traded


def test_buys_leave_the_minimum_cash_and_share_what_is_left_without_favour():
    guards = LOOSE.model_copy(update={"min_cash": 0.1})
    account, price = book(cash=1000.0, units=[0.0, 0.0]), torch.tensor([10.0, 10.0], dtype=torch.float64)
    costs = Costs(fee_bps=25, min_notional=0)
    orders = decide(account, wish(1.0, 1.0), price, guards=guards, costs=costs)
    settle(account, orders, price, torch.tensor([True, True]), costs=costs)
    assert account.cash.item() == pytest.approx(100.0, abs=1e-3)
    assert account.cash.item() >= 100.0
    assert account.units[0, 0] == account.units[0, 1]


def test_buys_stop_at_the_maximum_weight_and_drift_above_it_is_not_sold():
    guards = LOOSE.model_copy(update={"max_weight": 0.3})
    price = torch.tensor([100.0], dtype=torch.float64)
    assert decide(book(cash=800.0, units=[2.0]), wish(1.0), price, guards=guards, costs=FREE).item() == pytest.approx(
        1.0
    )
    assert decide(book(cash=500.0, units=[5.0]), wish(1.0), price, guards=guards, costs=FREE).item() == 0.0


def test_orders_below_the_minimum_notional_are_not_sent_but_full_exits_are():
    costs = FREE.model_copy(update={"min_notional": 10.0})
    price = torch.tensor([1.0], dtype=torch.float64)
    rich = book(cash=500.0, units=[500.0])
    for action, units in [(0.009, 0.0), (0.011, 11.0), (-0.009, 0.0), (-0.011, -11.0)]:
        assert decide(rich, wish(action), price, guards=LOOSE, costs=costs).item() == pytest.approx(units)
    dust = book(cash=500.0, units=[3.0])
    assert decide(dust, wish(-0.5), price, guards=LOOSE, costs=costs).item() == -3.0


def test_proceeds_of_sells_pay_for_buys_of_the_same_bar():
    account, price = book(cash=0.0, units=[10.0, 0.0]), torch.tensor([100.0, 100.0], dtype=torch.float64)
    orders = decide(account, wish(-1.0, 1.0), price, guards=LOOSE, costs=FREE)
    settle(account, orders, price, torch.tensor([True, True]), costs=FREE)
    assert account.units[0].tolist() == pytest.approx([0.0, 10.0])


def test_buys_shrink_to_the_cash_at_hand_when_the_open_gaps_up():
    buy, price = torch.tensor([[10.0, 30.0]], dtype=torch.float64), torch.tensor([20.0, 10.0], dtype=torch.float64)
    shrunk = shrink_buys(buy, price, torch.tensor([250.0], dtype=torch.float64), FREE)
    assert shrunk[0].tolist() == pytest.approx([5.0, 15.0])
    assert torch.equal(shrink_buys(buy, price, torch.tensor([500.0]).double(), FREE), buy)


def test_a_fresh_book_shares_no_memory_with_its_twin():
    one = Book.fresh(capital=10.0, books=2, tickers=1)
    two = replace(one)
    settle(two, torch.ones(2, 1, dtype=torch.float64), torch.ones(1).double(), torch.tensor([True]), costs=FREE)
    assert one.cash.tolist() == [10.0, 10.0]
    assert one.units.sum() == 0
