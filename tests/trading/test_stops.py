"""Stops, holding times and cool-downs live: the environment's own code, and nothing forgotten on a restart."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.trading import Status

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


def desk_of(tmp_path: Path, panel: BarPanel, *, costs: Costs | None = None, **guards: float) -> Desk:
    settings = Guards.model_validate({"max_step": 0.3, "max_drawdown": 0.9, **guards})
    return make_desk(tmp_path, panel=panel, actor=FakeActor(guards=settings, costs=costs or Costs()))


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
