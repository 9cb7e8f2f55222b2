"""Stops, holding times and cool-downs: judged at a close, traded at the next open, remembered for as long as said."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cappuccino_ml.core import ConfigurationError
from cappuccino_ml.environment import Book, Costs, Guards, Positions, backtest, decide, settle

FREE = Costs(fee_bps=0, min_notional=0)
LOOSE = Guards(max_step=1, dead_band=0, min_cash=0, max_weight=1, max_drawdown=0.99)
BUY, HOLD, SELL = 0.5, 0.0, -1.0


def run(prices, actions, *, tradable=None, costs=FREE, **guards):
    """One ticker whose open(t + 1) is close(t); orders [K] in units."""
    close = np.array(prices, dtype=float)[:, None]
    opens = np.vstack([close[:1], close[:-1]])
    trades = np.ones_like(close, dtype=bool) if tradable is None else np.array(tradable, dtype=bool)[:, None]
    wishes = [actions] * len(prices) if isinstance(actions, float) else [*actions, *[HOLD] * len(prices)]
    result = backtest(
        act=lambda t, _: np.array([wishes[t]]),
        open_=opens,
        close=close,
        tradable=trades,
        first=0,
        last=len(close) - 1,
        guards=LOOSE.model_copy(update=guards),
        costs=costs,
    )
    return np.sign(result.orders[:, 0]).astype(int).tolist()


def test_a_stop_loss_sells_everything_at_the_open_after_the_close_that_hit_it():
    assert run([100, 100, 95, 90, 80], [BUY], stop_loss=0.1) == [1, 0, 0, -1]
    assert run([100, 100, 95, 90.1, 80], [BUY], stop_loss=0.1) == [1, 0, 0, 0]


def test_a_stop_loss_counts_from_the_average_price_paid():
    # Half at 100, half of what is left at 120: the average lies between, and 98 is 10% below it.
    assert run([100, 120, 120, 98, 98], [BUY, BUY], stop_loss=0.1) == [1, 1, 0, -1]
    assert run([100, 120, 120, 98, 98], [BUY], stop_loss=0.1) == [1, 0, 0, 0]


def test_a_trailing_stop_follows_the_highest_close_and_never_comes_down():
    assert run([100, 150, 200, 180.1, 179.9, 179], [BUY], trailing_stop=0.1) == [1, 0, 0, 0, -1]
    assert run([100, 150, 200, 181, 181, 179], [BUY], trailing_stop=0.0) == [1, 0, 0, 0, 0]


def test_each_position_has_a_stop_of_its_own():
    close = np.array([[100, 100], [100, 100], [80, 130], [80, 120], [80, 120]], dtype=float)
    result = backtest(
        act=lambda t, _: np.full(2, 0.4 * (t == 0)),
        open_=close,
        close=close,
        tradable=np.ones((5, 2), bool),
        first=0,
        last=4,
        guards=LOOSE.model_copy(update={"trailing_stop": 0.15}),
        costs=FREE,
    )
    assert np.sign(result.orders).tolist() == [[1, 1], [0, 0], [-1, 0], [0, 0]]


def test_defect_17_a_stop_sells_once_and_lets_the_policy_buy_again():
    # Two buys spend all cash; the stop frees it, and two more spend it again.
    assert run([100, 100, 80, 80, 80, 80, 80], BUY, stop_loss=0.1) == [1, 1, -1, 1, 1, 0]


def test_defect_17_a_stop_is_remembered_while_the_cool_down_lasts():
    orders = run([100, 100, 80, 80, 80, 80, 80, 80], BUY, stop_loss=0.1, cooldown_bars=2)
    assert orders == [1, 1, -1, 0, 0, 1, 1]


def test_defect_17_a_stop_that_could_not_fill_is_not_forgotten_when_the_price_comes_back():
    tradable = [1, 1, 1, 0, 0, 1, 1]
    orders = run([100, 100, 80, 80, 100, 100, 100], [BUY], tradable=tradable, stop_loss=0.1)
    assert orders == [1, 0, 0, 0, -1, 0]


def test_stops_and_the_drawdown_halt_do_not_wait_for_the_holding_time():
    crash = [100, 100, 50, 50, 50]
    assert run(crash, [BUY], stop_loss=0.1, min_holding_bars=9) == [1, 0, -1, 0]
    assert run(crash, [BUY], max_drawdown=0.2, min_holding_bars=9) == [1, 0, -1, 0]


def test_stops_ignore_max_step_and_the_dead_band():
    orders = run([100, 100, 100, 50, 50], BUY, stop_loss=0.1, max_step=0.1, dead_band=0.05)
    assert orders == [1, 1, 1, -1]


@pytest.mark.parametrize(("bars", "orders"), [
    (0, [1, -1, 0, 0, 0]), (1, [1, -1, 0, 0, 0]), (2, [1, 0, -1, 0, 0]), (4, [1, 0, 0, 0, -1]),
])  # fmt: skip
def test_the_policy_may_not_sell_before_the_holding_time_is_over(bars, orders):
    assert run([100] * 6, [BUY, SELL, SELL, SELL, SELL, SELL], min_holding_bars=bars) == orders


def test_a_holding_time_is_one_positions_and_the_next_one_has_its_own():
    assert run([100] * 8, [BUY, SELL, SELL, BUY, SELL, SELL, SELL], min_holding_bars=2) == [1, 0, -1, 1, 0, -1, 0]


def test_a_cool_down_follows_the_policys_own_exit_but_not_a_part_sale():
    assert run([100] * 7, [BUY, SELL, BUY, BUY, BUY, BUY], cooldown_bars=2) == [1, -1, 0, 0, 1, 1]
    assert run([100] * 4, [BUY, -0.2, BUY], cooldown_bars=2) == [1, -1, 1]


def test_a_coin_fee_leaves_fewer_coins_and_no_fee_in_cash():
    account = Book.fresh(capital=1000.0, books=1, tickers=1)
    costs = Costs(fee_bps=25, fee_in_coin=True, min_notional=0)
    price = torch.tensor([10.0], dtype=torch.float64)
    filled = settle(account, torch.tensor([[50.0]]).double(), price, torch.tensor([True]), costs=costs)
    assert filled.item() == 50.0
    assert account.cash.item() == 500.0
    assert account.units.item() == pytest.approx(50 * 0.9975)
    everything = decide(account, torch.tensor([[-1.0]]), price, guards=LOOSE, costs=costs)
    settle(account, everything, price, torch.tensor([True]), costs=costs)
    assert account.units.item() == 0.0
    assert account.cash.item() == pytest.approx(500.0 + 500.0 * 0.9975**2)
    assert costs.round_trip == pytest.approx(-2 * np.log(0.9975))


def test_each_ticker_may_have_an_increment_and_a_minimum_of_its_own():
    costs = Costs(fee_bps=0, increment=(1.0, 0.1), min_notional=(10.0, 600.0))
    account = Book.fresh(capital=1000.0, books=1, tickers=2)
    price = torch.tensor([3.0, 3.0], dtype=torch.float64)
    orders = decide(account, torch.tensor([[0.5, 0.5]]), price, guards=LOOSE, costs=costs)
    assert orders.tolist() == [[166.0, 0.0]]
    dear = costs.model_copy(update={"min_notional": (10.0, 400.0)})
    orders = decide(account, torch.tensor([[0.5, 0.5]]), price, guards=LOOSE, costs=dear)
    assert orders[0].tolist() == pytest.approx([166.0, 166.6])


def test_rules_for_another_number_of_tickers_are_refused():
    account = Book.fresh(capital=1000.0, books=1, tickers=3)
    with pytest.raises(ConfigurationError, match=r"2 numbers for 3 tickers.*one number per ticker"):
        decide(account, torch.zeros(1, 3), torch.ones(3).double(), guards=LOOSE, costs=Costs(increment=(1.0, 0.1)))


@pytest.mark.parametrize(("settings", "field"), [
    ({"stop_loss": 1.0}, "stop_loss"), ({"trailing_stop": -0.1}, "trailing_stop"),
    ({"min_holding_bars": -1}, "min_holding_bars"), ({"cooldown_bars": 1.5}, "cooldown_bars"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(settings, field):
    with pytest.raises(ValidationError, match=field):
        Guards(**settings)
    with pytest.raises(ValidationError, match="increment"):
        Costs(increment=(1.0, 0.0))


def test_what_a_book_remembers_survives_being_written_down_as_plain_numbers():
    guards = LOOSE.model_copy(update={"stop_loss": 0.1, "cooldown_bars": 3})
    account = Book.fresh(capital=1000.0, books=2, tickers=2)
    prices = torch.tensor([10.0, 20.0], dtype=torch.float64)
    settle(account, torch.tensor([[20.0, 10.0], [0.0, 5.0]]).double(), prices, torch.ones(2).bool(), costs=FREE)
    account.mark(prices, guards)
    settle(account, torch.tensor([[-20.0, 0.0], [0.0, 0.0]]).double(), prices, torch.ones(2).bool(), costs=FREE)
    account.mark(prices * 0.5, guards)
    memory = account.positions.memory_of(0)
    assert memory[0] == {"entry": 0.0, "high": 0.0, "bars": 0.0, "cooldown": 3.0, "stopped": 0.0}
    assert memory[1] == {"entry": 20.0, "high": 20.0, "bars": 2.0, "cooldown": 0.0, "stopped": 1.0}
    again = Positions.of_one_book(memory)
    for name in memory[0]:
        assert torch.equal(getattr(again, name)[0], getattr(account.positions, name)[0]), name
    assert not any(any(one.values()) for one in Positions.of_one_book([{}, {}]).memory_of(0))


def test_a_position_whose_price_nobody_knows_counts_from_the_first_close_that_is_seen():
    account = Book.fresh(capital=0.0, books=1, tickers=1)
    account.units[0, 0] = 5.0
    guards = LOOSE.model_copy(update={"stop_loss": 0.1})
    for price, stopped in [(10.0, 0.0), (9.1, 0.0), (9.0, 1.0), (50.0, 1.0)]:
        account.mark(torch.tensor([price], dtype=torch.float64), guards)
        assert account.positions.stopped.item() == stopped
    assert account.positions.entry.item() == 10.0
