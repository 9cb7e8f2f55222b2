"""History through the trading service, bar by bar, in exact-fill mode: what the backtest must agree with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import AllAlerts, ManualClock, TradingError
from cappuccino_ml.environment import Act, Backtest, Book, Positions, backtest, decide
from cappuccino_ml.features import MarketTable
from cappuccino_ml.trading.engine import Tick
from cappuccino_ml.trading.feed import PanelFeed, close_time
from cappuccino_ml.trading.following import OneModel
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.limits import NO_LIMITS
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.open_quotes import OpenQuotes
from cappuccino_ml.trading.pace import AT_ONCE
from cappuccino_ml.trading.service import Service
from cappuccino_ml.trading.simulated_broker import Habits, SimulatedBroker

Floats = NDArray[np.float64]


@dataclass
class Seen:
    """The marked book that a decision was taken on, out of the ledger."""

    entries: NDArray[np.float32]
    equity: float
    halted: bool
    memory: dict[str, dict[str, float]]


SizeAgain = Callable[[Seen, int, Floats], Floats]


@dataclass(frozen=True)
class Session:
    """K traded bars, N tickers. Row k was decided at close(first + k) and is marked at close(first + k + 1)."""

    first: int
    symbols: tuple[str, ...]
    timestamps: NDArray[np.datetime64]  # [K], open times of the decided bars
    equity: Floats  # [K + 1], quote currency, from the broker's cash and units
    returns: Floats  # [K]
    actions: Floats  # [K, N]
    decided: Floats  # [K, N], base units, before the quote was known
    orders: Floats  # [K, N], filled base units, negative sold
    turnover: Floats  # [K], traded notional over equity before the trade
    bars_per_year: float
    bar: timedelta

    def close_of(self, k: int) -> str:
        """When bar k closed, as the ledger writes it."""
        return _iso(self.timestamps[k], after=self.bar)

    def close_before(self, moment: datetime) -> str:
        """The newest of its closes that is not after `moment`, as the ledger writes it; its first if there is none."""
        now = np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
        row = int(np.searchsorted(self.timestamps + np.timedelta64(self.bar), now, side="right")) - 1
        return self.close_of(max(row, 0))


def _iso(opened: np.datetime64, *, after: timedelta) -> str:
    moment: datetime = opened.astype("datetime64[us]").item()
    return (moment.replace(tzinfo=UTC) + after).isoformat()


def replay(
    *,
    actor: TradingModel,
    panel: BarPanel,
    first: int,
    last: int,
    ledger: Ledger,
    capital: float = 100_000.0,
    model_version: str = "replay",
    habits: Habits | None = None,
) -> Session:
    """Run the service from close(first) to close(last - 1) on a replayed clock, with fills at the next open.

    Args:
        actor: the model, with its own guards and costs.
        panel: history; `first` must leave enough bars before it for the features' warm-up.
        first: row of the first decision.
        last: row of the last mark, so K = last - first.
        ledger: an empty one; `Ledger(path, durable=False)` is quick.
        capital: cash at the start, quote currency.
        model_version: written in every row.
        habits: of the venue; the default fills every order whole and at once.

    Raises:
        TradingError: the span does not fit, the ledger is not empty, or a tick refused.
    """
    if not 0 <= first < last < len(panel):
        raise TradingError(f"replay of rows {first}..{last} does not fit {len(panel)} bars; choose a span inside them.")
    if any(True for _ in ledger.rows()):
        raise TradingError(f"ledger {ledger.path} is not empty; replay into a new one.")
    symbols = panel.universe.symbols
    clock = ManualClock(close_time(panel, first))
    broker = SimulatedBroker(
        symbols=symbols,
        cash=Decimal(repr(capital)),
        costs=actor.costs,
        quotes=OpenQuotes(panel, clock),
        habits=habits,
    )
    ticks: list[Tick] = []
    equity = [capital]

    def keep(tick: Tick) -> None:
        held = broker.positions()
        units = np.array([float(held.get(symbol, 0)) for symbol in symbols])
        ticks.append(tick)
        equity.append(float(broker.account().cash) + float(units @ panel.close[first + len(ticks)]))

    service = Service(
        follower=OneModel(actor, model_version),
        open_broker=lambda model: broker,
        feed=PanelFeed(panel),
        ledger=ledger,
        universe=panel.universe,
        clock=clock,
        sleep=lambda seconds: clock.set(clock.now() + timedelta(seconds=seconds)),
        publish=lambda health: None,
        alerts=AllAlerts(()),
        limits=NO_LIMITS,
        pace=AT_ONCE,
        told=keep,
    )
    service.run(until=close_time(panel, last - 1))
    closes = [close_time(panel, row) for row in range(first, last)]
    actions, decided, orders = [], [], []
    for bar_close, tick in zip_longest(closes, ticks):
        if tick is None or tick.bar_close != bar_close or tick.status != "traded":
            what = f"was {tick.status}" if tick and tick.bar_close == bar_close else "got no tick"
            raise TradingError(
                f"bar {bar_close} {what}, so the replay is void: {service.health.last_error or 'a hole'}"
            )
        actions.append(tick.action)
        decided.append(tick.decided)
        orders.append(tick.filled)
    value, filled = np.asarray(equity), np.asarray(orders)
    return Session(
        first=first,
        symbols=symbols,
        timestamps=panel.timestamps[first:last],
        equity=value,
        returns=value[1:] / value[:-1] - 1.0,
        actions=np.asarray(actions),
        decided=np.asarray(decided),
        orders=filled,
        turnover=(np.abs(filled) * panel.open[first + 1 : last + 1]).sum(-1) / value[:-1],
        bars_per_year=panel.universe.bars_per_year,
        bar=panel.universe.bar,
    )


def research_act(actor: TradingModel, table: MarketTable) -> Act:
    """The model as the research path asks it: features of the whole history at once, by row of `table`."""
    actor.schema.require_same(table.schema, what="the market table")

    def act(t: int, entries: NDArray[np.float32]) -> Floats:
        return actor.act(table.features[t + 1 - actor.lookback : t + 1], entries)

    return act


def research_sizes(actor: TradingModel, table: MarketTable) -> SizeAgain:
    """Orders [N] that follow from (book, row of `table`, action) with the model's guards and costs."""

    def sizes(seen: Seen, t: int, action: Floats) -> Floats:
        close, entries = torch.from_numpy(table.close[t]), torch.from_numpy(seen.entries).double()
        book = Book.fresh(capital=float(seen.equity * entries[0]), books=1, tickers=len(close))
        book.units[0], book.halted[0] = seen.equity * entries[1:] / close, seen.halted
        book.positions = Positions.of_one_book([seen.memory.get(symbol, {}) for symbol in table.schema.symbols])
        wished = torch.from_numpy(action)[None]
        return np.asarray(decide(book, wished, close, guards=actor.guards, costs=actor.costs)[0].numpy())

    return sizes


def shadow_backtest(
    *,
    actor: TradingModel,
    table: MarketTable,
    first: int,
    last: int,
    book: Book | None = None,
) -> Backtest:
    """The research backtest of the same bars: the environment's accounting, no orders; see `backtests` for `book`.

    Raises:
        SchemaMismatch: the model was trained on other features, tickers or bars than those of `table`.
    """
    return backtest(
        act=research_act(actor, table),
        open_=table.open,
        close=table.close,
        tradable=table.tradable,
        first=first,
        last=last,
        guards=actor.guards,
        costs=actor.costs,
        book=book,
    )
