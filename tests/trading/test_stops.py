"""Stops, holding times and cool-downs live: the environment's own code, and nothing forgotten on a restart."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.trading import NO_LIMITS, Habits, Limits, Status
from cappuccino_ml.trading.state import TradingState, release, restrict

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, always, make_desk, make_panel

BTC = "BTC-USD"


def steps(*levels: float) -> BarPanel:
    """All prices stand still at 100, but BTC's closes from FIRST on are `levels`; each bar opens at the last close."""
    panel = make_panel(filled=0.0)
    for prices in (panel.open, panel.high, panel.low, panel.close):
        prices[:] = 100.0
    panel.close[FIRST : FIRST + len(levels), 0] = levels
    panel.close[FIRST + len(levels) :, 0] = levels[-1]
    panel.open[1:] = panel.close[:-1]
    panel.high[:] = np.maximum(panel.open, panel.close) * 1.001
    panel.low[:] = np.minimum(panel.open, panel.close) / 1.001
    panel.volume[:] = 10.0
    return panel


def desk_of(
    tmp_path: Path, panel: BarPanel, *, costs: Costs | None = None, habits: Habits | None = None, **guards: float
) -> Desk:
    settings = Guards.model_validate({"max_step": 0.3, "max_drawdown": 0.9, **guards})
    return make_desk(tmp_path, panel=panel, actor=FakeActor(guards=settings, costs=costs or Costs()), habits=habits)


def tick(desk: Desk, row: int, *action: float) -> float:
    """Restart the trader, let it trade bar `row` -> units of BTC that were filled."""
    desk.actor.rule = always(*action)
    desk.at(row)
    result = desk.open().tick()
    assert result.filled is not None
    return float(result.filled[0])


def test_defect_17_a_stop_is_not_forgotten_on_a_restart_and_sells_once(tmp_path: Path) -> None:
    panel = steps(100, 100, 85, 85, 99, 99, 99, 99)
    panel.is_filled[FIRST + 3 : FIRST + 5, 0] = True  # nothing trades when the stop is hit
    desk = desk_of(tmp_path, panel, stop_loss=0.1, cooldown_bars=2)
    assert tick(desk, FIRST, 1, 0, 0) > 0
    assert tick(desk, FIRST + 1, 0, 0, 0) == 0
    assert tick(desk, FIRST + 2, 0, 0, 0) == 0
    assert tick(desk, FIRST + 3, 0, 0, 0) == 0
    assert tick(desk, FIRST + 4, 0, 0, 0) < 0  # the price is back, the stop is remembered
    assert desk.broker.positions() == {}
    assert [tick(desk, FIRST + 5 + k, 1, 0, 0) > 0 for k in range(3)] == [False, False, True]


def test_bars_that_closed_while_the_trader_was_down_count(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, steps(100, 100, 130, 115, 115), trailing_stop=0.1)
    tick(desk, FIRST, 1, 0, 0)
    assert tick(desk, FIRST + 3, 0, 0, 0) < 0  # 115 is more than 10% below the 130 that nobody was up to see


def test_the_holding_time_counts_bars_whatever_restarts(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, steps(100), min_holding_bars=3)
    tick(desk, FIRST, 1, 0, 0)
    assert tick(desk, FIRST + 1, -1, 0, 0) == 0
    assert tick(desk, FIRST + 3, -1, 0, 0) < 0


@pytest.mark.parametrize("crash_at", range(1, 6))
def test_a_crash_at_any_row_of_a_tick_counts_no_bar_twice(tmp_path: Path, crash_at: int) -> None:
    desk = desk_of(tmp_path, steps(100), min_holding_bars=3)
    tick(desk, FIRST, 1, 0, 0)
    desk.actor.rule = always(0, 0, 0)
    desk.at(FIRST + 1)
    try:
        desk.open(ledger_type=CrashingLedger, crash_at=crash_at).tick()
    except CrashError:
        desk.open().tick()
    assert tick(desk, FIRST + 2, -1, 0, 0) == 0
    assert tick(desk, FIRST + 3, -1, 0, 0) < 0


def test_p3_a_fee_in_coin_is_in_our_book_as_it_is_in_the_brokers(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, steps(100), costs=Costs(fee_in_coin=True))
    bought = tick(desk, FIRST, 1, 0, 0)
    held = desk.broker.positions()[BTC]
    assert held == Decimal(repr(bought)) * Decimal("0.9975")
    tick(desk, FIRST + 1, -1, 0, 0)
    order = desk.broker.submitted[-1]
    assert (order.side, order.quantity) == ("sell", held)
    assert desk.broker.positions() == {}
    state = desk.broker.order(order.client_order_id)
    assert state is not None
    assert (state.status, state.coin_fee) == (Status.FILLED, 0)
    assert desk.open().tick().status == "repeated"


def test_p3_a_fee_in_coin_that_nobody_tells_is_aligned_and_the_stop_sells_what_is_held(tmp_path: Path) -> None:
    habits = Habits(tells_fee=False, latency_s=1.0)
    desk = desk_of(tmp_path, steps(100, 100, 85), costs=Costs(fee_in_coin=True), habits=habits, stop_loss=0.1)
    desk.limits = Limits()
    assert tick(desk, FIRST, 1, 0, 0) > 0
    assert tick(desk, FIRST + 1, 0, 0, 0) == 0
    assert "aligned" in desk.kinds()
    assert tick(desk, FIRST + 2, 0, 0, 0) < 0
    assert desk.broker.positions() == {}


def test_a_stop_sells_while_entries_are_stopped(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, steps(100, 100, 85), stop_loss=0.1)
    tick(desk, FIRST, 1, 0, 0)
    assert desk.ledger is not None
    restrict(desk.ledger, entries_only=True, who="Ada", why="a test", at=desk.clock.now())
    assert tick(desk, FIRST + 2, 1, 1, 1) < 0
    assert desk.broker.positions() == {}


def test_a_stop_of_which_only_a_part_is_sold_sells_the_rest_at_the_next_bar(tmp_path: Path) -> None:
    habits = Habits(latency_s=1.0, partial_share=1.0, rest="cancelled")
    desk = desk_of(tmp_path, steps(100, 100, 85, 99, 99), habits=habits, stop_loss=0.1)
    tick(desk, FIRST, 1, 0, 0)
    held = desk.broker.positions()[BTC]
    assert tick(desk, FIRST + 2, 0, 0, 0) < 0
    left = desk.broker.positions()[BTC]
    assert 0 < left < held
    assert tick(desk, FIRST + 3, 1, 0, 0) < 0  # 99 is above the stop again: it was latched
    assert desk.broker.positions().get(BTC, 0) < left


def test_the_entry_price_is_the_average_of_what_was_filled_in_parts(tmp_path: Path) -> None:
    habits = Habits(latency_s=1.0, partial_share=1.0, rest="later")
    desk = desk_of(tmp_path, steps(100), costs=Costs(slippage_bps=100.0), habits=habits, stop_loss=0.1)
    tick(desk, FIRST, 1, 0, 0)
    assert desk.ledger is not None
    order = next(iter(TradingState.replay(desk.ledger.rows()).orders.values()))
    assert order.status == Status.FILLED
    assert TradingState.replay(desk.ledger.rows()).memory[BTC]["entry"] == pytest.approx(101.0)


def test_lots_are_the_tickers_own(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, steps(100), costs=Costs(increment=(0.5, 2.0, 1e-6)))
    tick(desk, FIRST, 1, 1, 1)
    lots = {order.symbol: order.quantity for order in desk.broker.submitted}
    assert lots[BTC] % Decimal("0.5") == 0
    assert lots["ETH-USD"] % 2 == 0
    assert len(lots) == 3
    assert desk.open().tick().status == "repeated"


def test_a_stopped_position_too_small_for_the_venue_to_sell_does_not_keep_its_ticker_from_being_bought(
    tmp_path: Path,
) -> None:
    habits = Habits(min_quantity=Decimal("0.001"))
    desk = desk_of(tmp_path, steps(100, 100, 85, 85, 85, 85), habits=habits, stop_loss=0.1, cooldown_bars=1)
    assert tick(desk, FIRST, 1, 0, 0) > 0
    crumb = Decimal("0.0009")
    desk.broker._units[BTC] = crumb  # the rest was a fee that the venue took in coin
    desk.limits = NO_LIMITS.model_copy(update={"coin_fee_bps": 9999.999})
    assert tick(desk, FIRST + 2, 1, 0, 0) == 0
    assert "crumb" in desk.kinds()
    assert desk.broker.positions()[BTC] == crumb
    assert tick(desk, FIRST + 3, 1, 0, 0) == 0  # the cool-down, as after any other exit
    assert tick(desk, FIRST + 4, 1, 0, 0) > 0


def test_defect_17_a_release_forgets_no_stop_of_what_was_left_alone_and_knows_none_of_what_was_bought_by_hand(
    tmp_path: Path,
) -> None:
    for by_hand, sold in ((Decimal(0), True), (Decimal(5), False)):
        desk = desk_of(tmp_path / f"{by_hand}", steps(100, 85, 85), stop_loss=0.1)
        assert tick(desk, FIRST, 1, 0, 0) > 0
        assert desk.ledger is not None
        restrict(desk.ledger, entries_only=False, who="Ada", why="a drill", at=desk.clock.now())
        release(desk.ledger, who="Ada", why="all is well", at=desk.clock.now())
        desk.broker._units[BTC] += by_hand
        assert (tick(desk, FIRST + 1, 0, 0, 0) < 0) == sold
        desk.close()
