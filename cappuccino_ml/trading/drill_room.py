"""Where a drill is held: an account of its own on bars that may be cut, around the model that is to be trusted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import ManualClock, TradingError
from cappuccino_ml.environment import per_ticker
from cappuccino_ml.trading.engine import Tick, Trader
from cappuccino_ml.trading.feed import PanelFeed, close_time
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.limits import Limits
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.open_quotes import OpenQuotes
from cappuccino_ml.trading.orders import Order, OrderState
from cappuccino_ml.trading.simulated_broker import SimulatedBroker

_CAPITAL = 100_000.0
Floats = NDArray[np.float64]


class CountingBroker(SimulatedBroker):
    """Counts the orders that reach it."""

    sent: int = 0
    bought: int = 0

    def submit(self, order: Order) -> OrderState:
        """Count, then as any simulated broker."""
        self.sent += 1
        self.bought += order.side == "buy"
        return super().submit(order)


class Wishing:
    """The model, but it always wishes for the same: for nothing, unless told, so that a bar only sets the memory."""

    def __init__(self, model: TradingModel, wish: float = 0.0, **guards: float) -> None:
        """`wish` in [-1, 1] for every ticker; `guards` that differ from the model's."""
        self.schema, self.lookback, self.costs = model.schema, model.lookback, model.costs
        self.arm, self.key = model.arm, model.key
        self.guards, self._wish = model.guards.model_copy(update=guards), wish

    def act(self, window: Floats, entries: NDArray[np.float32]) -> Floats:
        """The wish, [N]."""
        return np.full(len(self.schema.tickers), self._wish)


@dataclass
class Room:
    """One account with its ledger and clock, on bars that may be changed."""

    panel: BarPanel
    model: TradingModel
    version: str
    folder: Path
    row: int
    coins: float  # share of equity held in coins at the start, spread evenly
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        panel, costs = self.panel, self.model.costs
        self.clock = ManualClock(close_time(panel, self.row))
        self.broker = CountingBroker(
            symbols=panel.universe.symbols,
            cash=Decimal(0),
            costs=costs,
            quotes=OpenQuotes(panel, self.clock),
            clock=self.clock,
        )
        close, tickers = panel.close[self.row], len(panel.universe.symbols)
        sizes = per_ticker(costs.increment, tickers=tickers)
        units = {
            symbol: str(round(_CAPITAL * self.coins / tickers / price / size) * Decimal(repr(size)))
            for symbol, price, size in zip(panel.universe.symbols, close, sizes, strict=True)
        }
        cash = str(round(_CAPITAL * (1 - self.coins), 2))
        self.broker.restore(json.dumps({"cash": cash, "units": units, "orders": {}, "working": {}}))

    @property
    def kill_file(self) -> Path:
        """Nothing is sent while it exists."""
        return self.folder / "KILL"

    @contextmanager
    def trader(self, model: TradingModel | None = None) -> Iterator[Trader]:
        """A trader on this account, started and, when the block ends, gone without a word, as after a kill."""
        with Ledger(self.folder / "ledger.sqlite", durable=False) as ledger:
            yield Trader(
                actor=model or self.model,
                model_version=self.version,
                feed=PanelFeed(self.panel),
                broker=self.broker,
                ledger=ledger,
                clock=self.clock,
                limits=self.limits,
                kill_file=self.kill_file,
                sleep=lambda seconds: None,
            )

    def tick(self, trader: Trader, row: int, *, late: float = 0.0) -> Tick | str:
        """One tick at the close of `row`, or `late` bars after it; a refusal in its own words."""
        self.clock.set(close_time(self.panel, row) + late * self.panel.universe.bar)
        try:
            return trader.tick()
        except TradingError as error:
            return str(error)


def staged(panel: BarPanel, row: int, *levels: float) -> BarPanel:
    """A copy in which one bar per level follows `row`: every price of it is the close of `row` times the level."""
    price = panel.close[row] * np.array(levels)[:, None]

    def followed(values: Floats) -> Floats:
        return np.concatenate([values[: row + 1], price])

    def repeated(values: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([values[: row + 1], np.repeat(values[row : row + 1], len(levels), axis=0)])

    later = panel.timestamps[row] + np.arange(1, len(levels) + 1) * np.timedelta64(panel.universe.bar)
    is_filled = repeated(panel.is_filled)
    is_filled[row + 1 :] = False
    return replace(
        panel,
        timestamps=np.concatenate([panel.timestamps[: row + 1], later]),
        open=followed(panel.open),
        high=followed(panel.high),
        low=followed(panel.low),
        close=followed(panel.close),
        volume=repeated(panel.volume),
        is_filled=is_filled,
    )


def cut(panel: BarPanel, row: int, factor: float) -> BarPanel:
    """A copy whose prices from `row` on are multiplied by `factor`."""

    def scaled(values: Floats) -> Floats:
        return np.concatenate([values[:row], values[row:] * factor])

    return replace(
        panel, open=scaled(panel.open), high=scaled(panel.high), low=scaled(panel.low), close=scaled(panel.close)
    )
