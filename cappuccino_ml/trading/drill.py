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
from cappuccino_ml.trading.drill_room import Resting, Room, cut
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
    """Trip every guard once: kill file, stop, stale feed, daily loss, drawdown halt with a restart.

    Args:
        model: the one to be trusted.
        model_version: its registry version.
        panel: real bars; prices after a bar are cut where a loss is needed, in a copy.
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
    with place.trader(Resting(model)) as trader:
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
    with place.trader(Resting(model)) as trader:
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


def _not_shown(name: str, expected: str) -> Scenario:
    return Scenario(name=name, expected=expected, seen="the model sent no order that could be held back", passed=None)


def _start_of_day(panel: BarPanel, first: int) -> int:
    """The first row from `first` on that closes, like the next one, on one and the same UTC day."""
    row = first
    while close_time(panel, row).date() != close_time(panel, row + 1).date():
        row += 1
    return row
