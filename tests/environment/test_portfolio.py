"""The accounting of one decision: what no action, price or cost can break."""

from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal, getcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from cappuccino_ml.environment import Book, Costs, Guards, decide, settle, shrink_buys

getcontext().prec = 50
FREE = Costs(fee_bps=0, slippage_bps=0, min_notional=0, increment=1e-6)
LOOSE = Guards(max_step=1, dead_band=0, min_cash=0, max_weight=1, max_drawdown=0.99)

any_guards = st.builds(
    Guards,
    max_step=st.floats(0.01, 1),
    dead_band=st.floats(0, 0.1),
    min_cash=st.floats(0, 0.5),
    max_weight=st.floats(0.05, 1),
    max_drawdown=st.floats(0.02, 0.9),
)
any_costs = st.builds(
    Costs,
    fee_bps=st.floats(0, 200),
    slippage_bps=st.floats(0, 100),
    min_notional=st.floats(0, 100),
    increment=st.sampled_from([1e-8, 1e-4, 0.1]),
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
        paid = torch.where(filled > 0, traded * (costs.buy_factor - 1), traded * (1 - costs.sell_factor))
        moved = held * (opens[t + 1] - closes[t]) + account.units * (closes[t + 1] - opens[t + 1])
        assert float(account.equity(closes[t + 1])) == pytest.approx(float(before + (moved - paid).sum()), rel=1e-10)


def scalar_step(
    cash: Decimal, units: list[Decimal], action: Any, prices: Any, *, guards: Guards, costs: Costs
) -> tuple[Decimal, list[Decimal]]:
    """One decision and its fills, written once more for one book in plain decimals."""
    close, opening, tradable = ([Decimal(float(x)) for x in row] for row in prices)
    step, dead, low, top, least, lot = (
        Decimal(x) for x in (
            guards.max_step, guards.dead_band, guards.min_cash, guards.max_weight, costs.min_notional, costs.increment
        )
    )  # fmt: skip
    slip, fee = Decimal(costs.slippage_bps) / 10_000, Decimal(costs.fee_bps) / 10_000
    pay, get = (1 + slip) * (1 + fee), (1 - slip) * (1 - fee)

    def lots(x: Decimal) -> Decimal:
        return (x / lot + Decimal("1e-9")).to_integral_value(ROUND_FLOOR) * lot

    equity = cash + sum(u * p for u, p in zip(units, close, strict=True))
    buys, sells = [], []
    for wished, held, price in zip(action, units, close, strict=True):
        change = min(max(Decimal(float(wished)), Decimal(-1)), Decimal(1)) * step
        change = change if abs(change) >= dead else Decimal(0)
        weight = held * price / equity
        sold = Decimal(0)
        if change < 0 and weight + change <= 0:
            sold = held
        elif change < 0:
            sold = lots(-change * equity / price)
            sold = sold if sold * price >= least else Decimal(0)
        sells.append(sold)
        buys.append(min(max(change, Decimal(0)), max(top - weight, Decimal(0))) * equity)
    budget = max(cash + get * sum(s * p for s, p in zip(sells, close, strict=True)) - low * equity, Decimal(0))
    needed = pay * sum(buys)
    share = min(budget / needed, Decimal(1)) if needed else Decimal(1)
    bought = [lots(b * share / p) for b, p in zip(buys, close, strict=True)]
    bought = [b if b * p >= least else Decimal(0) for b, p in zip(bought, close, strict=True)]

    sells = [min(s, u) * ok for s, u, ok in zip(sells, units, tradable, strict=True)]
    bought = [b * ok for b, ok in zip(bought, tradable, strict=True)]
    cash += get * sum(s * p for s, p in zip(sells, opening, strict=True))
    needed = pay * sum(b * p for b, p in zip(bought, opening, strict=True))
    if needed > cash:
        bought = [lots(b * cash / needed) for b in bought]
    cash -= pay * sum(b * p for b, p in zip(bought, opening, strict=True))
    return cash, [u - s + b for u, s, b in zip(units, sells, bought, strict=True)]


@settings(max_examples=25)
@given(actions=plain_actions, seed=st.integers(0, 9), max_step=st.sampled_from([0.1, 0.7]))
def test_a_scalar_decimal_twin_agrees_to_1e_9(make_market, actions, seed, max_step):
    market = make_market(seed=seed)
    guards = Guards(max_step=max_step, max_drawdown=0.99)
    costs = Costs(slippage_bps=3, increment=1e-4)
    opens, closes, tradable = tensors(market)
    account = Book.fresh(capital=1e5, books=1, tickers=3)
    cash, units = Decimal(100_000), [Decimal(0)] * 3
    for t, action in enumerate(actions):
        orders = decide(account, torch.from_numpy(action).unsqueeze(0), closes[t], guards=guards, costs=costs)
        settle(account, orders, opens[t + 1], tradable[t + 1], costs=costs)
        prices = market.close[t], market.open[t + 1], market.tradable[t + 1]
        cash, units = scalar_step(cash, units, action, prices, guards=guards, costs=costs)
        np.testing.assert_allclose(account.units[0].numpy(), [float(u) for u in units], rtol=1e-9, atol=1e-9)
        assert float(account.cash[0]) == pytest.approx(float(cash), rel=1e-9, abs=1e-6)


@settings(max_examples=25)
@given(actions=plain_actions, order=st.permutations(range(3)), seed=st.integers(0, 9))
def test_permuting_tickers_permutes_results(make_market, actions, order, seed):
    prices = tensors(make_market(seed=seed))
    guards, costs = Guards(max_step=0.5), Costs(increment=1e-4)

    def run(order: list[int]) -> tuple[Tensor, Tensor]:
        opens, closes, tradable = (x[:, order] for x in prices)
        account = Book.fresh(capital=1e5, books=1, tickers=3)
        for t, action in enumerate(torch.from_numpy(actions[:, order])):
            orders = decide(account, action.unsqueeze(0), closes[t], guards=guards, costs=costs)
            settle(account, orders, opens[t + 1], tradable[t + 1], costs=costs)
        return account.cash, account.units

    cash, units = run([0, 1, 2])
    other_cash, other_units = run(list(order))
    torch.testing.assert_close(other_units, units[:, list(order)], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other_cash, cash, rtol=1e-9, atol=1e-6)


@settings(max_examples=20)
@given(actions=arrays(np.float64, (5, 8, 3), elements=st.floats(-2, 2)), seed=st.integers(0, 9))
def test_a_book_in_a_batch_is_bit_identical_to_the_same_book_alone(make_market, actions, seed):
    opens, closes, tradable = tensors(make_market(seed=seed))
    guards, costs = Guards(max_step=0.4), Costs()
    batch = Book.fresh(capital=1e5, books=8, tickers=3)
    alone = [Book.fresh(capital=1e5, books=1, tickers=3) for _ in range(8)]
    for t, action in enumerate(torch.from_numpy(actions)):
        for account, wished in [(batch, action), *zip(alone, action.split(1), strict=True)]:
            orders = decide(account, wished, closes[t], guards=guards, costs=costs)
            settle(account, orders, opens[t + 1], tradable[t + 1], costs=costs)
    assert torch.equal(batch.units, torch.cat([one.units for one in alone]))
    assert torch.equal(batch.cash, torch.cat([one.cash for one in alone]))


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
