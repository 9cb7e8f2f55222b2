"""A drill: the guards are tripped on purpose, on the simulated broker, with the model that is to be trusted."""

import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import (
    Settings,
    TradingError,
    array_sha256,
    artifact_folder,
    code_version,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.trading.drill_room import Room, Wishing, cut, staged
from cappuccino_ml.trading.engine import Tick
from cappuccino_ml.trading.feed import close_time
from cappuccino_ml.trading.journal import Mode
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.limits import Limits
from cappuccino_ml.trading.model import TradingModel

_RESULT = "drill.json"
_PATIENCE = 12  # bars in which everything must be sold: one that did not trade delays an exit
_DAY = 24  # bars that a drill has at the least


class Scenario(Settings):
    """One guard, tripped. `passed` None: it could not be shown with this model on these bars."""

    name: str
    expected: str
    seen: str
    passed: bool | None


class Drill(Settings):
    """Every guard of the trader, tripped once."""

    model_key: str
    model_version: str
    bar: str  # open time of the bar at which the model trades by itself
    scenarios: tuple[Scenario, ...]


class _MakeRoom(Protocol):
    def __call__(self, name: str, *, row: int, coins: float = 0.5, bars: BarPanel = ...) -> Room: ...


def run_drill(*, model: TradingModel, model_version: str, panel: BarPanel, first: int, last: int) -> Drill:
    """Trip every guard once, those over restarts that must outlive one.

    Kill file, stop, stale feed, daily loss, drawdown halt; and of stop-loss, trailing stop, minimum hold and cool-down
    those that the model has: one that is switched off cannot be tripped.

    Args:
        model: the one to be trusted.
        model_version: its registry version.
        panel: real bars; where a loss or a calm is needed, prices after a bar are cut or invented, in a copy.
        first: the earliest bar of the drill; enough bars before it for the features' warm-up.
        last: the last one, well behind `first`.

    Raises:
        TradingError: the bars do not reach.
    """
    if not 0 < first < last - _PATIENCE or last >= len(panel):
        raise TradingError(f"a drill on rows {first} to {last} does not fit {len(panel)} bars; give it at least a day.")
    with tempfile.TemporaryDirectory() as folder:

        def room(name: str, *, row: int, coins: float = 0.5, bars: BarPanel = panel) -> Room:
            return Room(bars, model, model_version, Path(folder) / name, row, coins)

        busy = _first_busy(room("control", row=first), first, last - _PATIENCE)
        at = busy if busy is not None else first
        scenarios = (
            _kill_file(room("kill", row=first), busy),
            _stop(room("stop", row=first), busy),
            _stale(room("stale", row=first), busy),
            _daily_loss(room, panel, first, model),
            _halt(room, panel, at, model),
            *_per_ticker(room, panel, first, model),
        )
    return Drill(
        model_key=model.key,
        model_version=model_version,
        bar=str(np.datetime_as_string(panel.timestamps[at], unit="m")),
        scenarios=scenarios,
    )


def held_drill(root: Path, *, model: TradingModel, model_version: str, panel: BarPanel, first: int, last: int) -> Drill:
    """`run_drill`, its result kept below `root`: the same model on the same bars with the same code is drilled once.

    A live session may be shorter than a drill: then the bars before it are drilled on, too.
    """
    first = min(first, last - _DAY)
    rows = slice(None, last + 1)
    seen = array_sha256(panel.timestamps[rows], panel.open[rows], panel.close[rows], panel.is_filled[rows])
    code = code_version("environment", "features", "policy", "trading")
    folder = root / digest([model.key, model_version, first, seen, code])[:16]
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            made = run_drill(model=model, model_version=model_version, panel=panel, first=first, last=last)
            write_json(aside / _RESULT, made)
    return read_settings(Drill, folder / _RESULT)


def _first_busy(room: Room, first: int, last: int) -> int | None:
    """The first bar at which this account sends an order; without one nothing can be held back."""
    with room.trader() as trader:
        for row in range(first, last):
            room.tick(trader, row)
            if room.broker.sent:
                return row
    return None


def _kill_file(room: Room, busy: int | None) -> Scenario:
    expected = "no order while the file exists, although the model wants one; orders once it is gone"
    if busy is None:
        return _not_shown("kill file", expected)
    room.kill_file.parent.mkdir(parents=True, exist_ok=True)
    room.kill_file.touch()
    with room.trader() as trader:
        room.tick(trader, busy)
        held = room.broker.sent
        room.kill_file.unlink()
        room.tick(trader, busy, late=0.1)
    seen = f"{held} orders with it, {room.broker.sent - held} after"
    return Scenario(name="kill file", expected=expected, seen=seen, passed=held == 0 and room.broker.sent > 0)


def _stop(room: Room, busy: int | None) -> Scenario:
    expected = "no order after the request to stop, a clean end in the ledger, and orders after a restart"
    if busy is None:
        return _not_shown("stop", expected)
    with room.trader() as trader:
        trader.ask_to_stop()
        room.tick(trader, busy)
        held = room.broker.sent
        trader.stop()
    with Ledger(room.folder / "ledger.sqlite", durable=False) as ledger:
        ended = list(ledger.rows())[-1].kind
    with room.trader() as trader:
        room.tick(trader, busy, late=0.1)
    seen = f"{held} orders after the request, the ledger ends with {ended!r}, {room.broker.sent} after the restart"
    return Scenario(
        name="stop", expected=expected, seen=seen, passed=held == 0 and ended == "stopped" and room.broker.sent > 0
    )


def _stale(room: Room, busy: int | None) -> Scenario:
    expected = "no order on a bar that closed too long ago, although the model wants one"
    if busy is None:
        return _not_shown("stale feed", expected)
    with room.trader() as trader:
        tick = room.tick(trader, busy, late=0.9)
    status = tick.status if isinstance(tick, Tick) else tick
    seen = f"the tick is {status!r}, {room.broker.sent} orders"
    return Scenario(name="stale feed", expected=expected, seen=seen, passed=status == "stale" and room.broker.sent == 0)


def _daily_loss(room: _MakeRoom, panel: BarPanel, first: int, model: TradingModel) -> Scenario:
    limit = Limits().daily_loss
    expected = f"REDUCING, and no buys, once {limit:.0%} of the day's first equity are lost"
    if model.guards.max_drawdown <= limit + 0.05:
        return Scenario(name="daily loss", expected=expected, seen="the drawdown halt comes first", passed=None)
    row = _start_of_day(panel, first)
    place = room("loss", row=row, coins=0.98, bars=cut(panel, row + 1, 1 - limit - 0.03))
    with place.trader(Wishing(model)) as trader:
        place.tick(trader, row)
        trader.swap(actor=model, model_version=place.version)
        place.tick(trader, row + 1)
        mode = trader.mode
    seen = f"{mode}, {place.broker.bought} buys"
    return Scenario(
        name="daily loss",
        expected=expected,
        seen=seen,
        passed=mode == Mode.REDUCING and place.broker.bought == 0,
    )


def _halt(room: _MakeRoom, panel: BarPanel, row: int, model: TradingModel) -> Scenario:
    lost = model.guards.max_drawdown
    expected = f"everything sold once {lost:.0%} of the peak are lost; HALTED after a restart and a recovery, no order"
    back = row + _PATIENCE // 2
    place = room(
        "halt",
        row=row,
        coins=1 - (1 - lost) / 20,
        bars=cut(cut(panel, row + 1, 0.9 * (1 - lost)), back, 1 / (0.9 * (1 - lost))),
    )
    with place.trader(Wishing(model)) as trader:
        place.tick(trader, row)
        trader.swap(actor=model, model_version=place.version)
        for later in range(row + 1, back):
            place.tick(trader, later)
            if not any(place.broker.positions().values()):
                break
    left, sold = sum(units > 0 for units in place.broker.positions().values()), place.broker.sent
    with place.trader() as trader:
        for later in range(back, row + _PATIENCE):
            place.tick(trader, later)
        mode = trader.mode
    again = place.broker.sent - sold
    seen = f"{sold} sells leave {left} positions; after the restart {mode}, {again} orders"
    return Scenario(
        name="drawdown halt",
        expected=expected,
        seen=seen,
        passed=left == 0 and sold > 0 and mode == Mode.HALTED and again == 0 and place.broker.bought == 0,
    )


def _per_ticker(room: _MakeRoom, panel: BarPanel, row: int, model: TradingModel) -> list[Scenario]:
    """The guards of single positions, as far as the model has them."""
    guards, shown = model.guards, list[Scenario]()
    if share := guards.stop_loss:
        shown.append(
            _sold_out("stop-loss", f"{share:.0%} below the entry", (0.99 * (1 - share),), room, panel, row, model)
        )
    if share := guards.trailing_stop:
        high = 1.05 / (1 - share)  # so high that what follows is above the entry: no stop-loss takes part
        levels = (high, high * 0.99 * (1 - share))
        shown.append(
            _sold_out("trailing stop", f"{share:.0%} below the highest close", levels, room, panel, row, model)
        )
    if guards.min_holding_bars > 1:
        shown.append(_minimum_hold(room, panel, row, model))
    if guards.cooldown_bars:
        shown.append(_cool_down(room, panel, row, model))
    return shown


def _sold_out(
    name: str, where: str, levels: tuple[float, ...], room: _MakeRoom, panel: BarPanel, row: int, model: TradingModel
) -> Scenario:
    """Nothing is wished for until the last level; then the trader is restarted with the model itself."""
    coins, end = model.guards.max_drawdown / 10, row + len(levels)  # too few to trip the drawdown halt
    place = room(name, row=row, coins=coins, bars=staged(panel, row, *levels, levels[-1]))
    with place.trader(Wishing(model)) as trader:
        for later in range(row, end):
            place.tick(trader, later)
    early = place.broker.sent
    with place.trader() as trader:
        place.tick(trader, end)
        mode = trader.mode
    left = sum(units > 0 for units in place.broker.positions().values())
    return Scenario(
        name=name,
        expected=f"after a restart, a position {where} is sold out at once, whatever the model wishes",
        seen=f"{early} orders before, {place.broker.sent - early} at the fall leave {left} positions, {mode}",
        passed=early == 0 and left == 0 and place.broker.bought == 0 and mode != Mode.HALTED,
    )


def _minimum_hold(room: _MakeRoom, panel: BarPanel, row: int, model: TradingModel) -> Scenario:
    bars = model.guards.min_holding_bars
    place = room("minimum hold", row=row, bars=staged(panel, row, *[1.0] * bars))
    with place.trader(Wishing(model, -1.0)) as trader:
        for later in sorted({row, row + bars - 2}):
            place.tick(trader, later)
    early = place.broker.sent
    with place.trader(Wishing(model, -1.0)) as trader:
        place.tick(trader, row + bars - 1)
    return Scenario(
        name="minimum hold",
        expected=f"a wish to sell everything sells nothing before bar {bars}, and then, after a restart, it does",
        seen=f"{early} sells before, {place.broker.sent - early} then",
        passed=early == 0 and place.broker.sent > 0,
    )


def _cool_down(room: _MakeRoom, panel: BarPanel, row: int, model: TradingModel) -> Scenario:
    bars = model.guards.cooldown_bars
    place = room("cool-down", row=row, coins=0.1, bars=staged(panel, row, *[1.0] * (bars + 2)))
    with place.trader(Wishing(model, -1.0, min_holding_bars=0)) as trader:
        place.tick(trader, row)
    left = sum(units > 0 for units in place.broker.positions().values())
    with place.trader(Wishing(model, 1.0)) as trader:
        for later in sorted({row + 1, row + bars}):
            place.tick(trader, later)
        early = place.broker.bought
        place.tick(trader, row + bars + 1)
    return Scenario(
        name="cool-down",
        expected=f"after everything is sold, and a restart, nothing is bought at {bars} closes; then it is",
        seen=f"{left} positions left, {early} buys in that time, {place.broker.bought - early} after it",
        passed=left == 0 and early == 0 and place.broker.bought > 0,
    )


def _not_shown(name: str, expected: str) -> Scenario:
    return Scenario(name=name, expected=expected, seen="the model sent no order that could be held back", passed=None)


def _start_of_day(panel: BarPanel, first: int) -> int:
    """The first row from `first` on that closes, like the next one, on one and the same UTC day."""
    row = first
    while close_time(panel, row).date() != close_time(panel, row + 1).date():
        row += 1
    return row
