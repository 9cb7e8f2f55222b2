"""History through the live trader, bar by bar, in exact-fill mode: what the backtest must agree with."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import ManualClock, TradingError
from cappuccino_ml.environment import Backtest, backtest
from cappuccino_ml.features import MarketTable
from cappuccino_ml.trading.engine import Trader
from cappuccino_ml.trading.feed import PanelFeed, close_time
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.limits import NO_LIMITS
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.open_quotes import OpenQuotes
from cappuccino_ml.trading.simulated_broker import SimulatedBroker

Floats = NDArray[np.float64]


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


def replay(
    *,
    actor: TradingModel,
    panel: BarPanel,
    first: int,
    last: int,
    ledger: Ledger,
    capital: float = 100_000.0,
    model_version: str = "replay",
) -> Session:
    """Tick the trader at close(first) .. close(last - 1) with fills at the next open.

    Args:
        actor: the model, with its own guards and costs.
        panel: history; `first` must leave enough bars before it for the features' warm-up.
        first: row of the first decision.
        last: row of the last mark, so K = last - first.
        ledger: an empty one; `Ledger(path, durable=False)` is quick.
        capital: cash at the start, quote currency.
        model_version: written in every row.

    Raises:
        TradingError: the span does not fit, the ledger is not empty, or a tick refused.
    """
    if not 0 <= first < last < len(panel):
        raise TradingError(f"replay of rows {first}..{last} does not fit {len(panel)} bars; choose a span inside them.")
    if any(True for _ in ledger.rows()):
        raise TradingError(f"ledger {ledger.path} is not empty; replay into a new one.")
    symbols, costs = panel.universe.symbols, actor.costs
    clock = ManualClock(close_time(panel, first))
    broker = SimulatedBroker(symbols=symbols, cash=Decimal(repr(capital)), costs=costs, quotes=OpenQuotes(panel, clock))
    trader = Trader(
        actor=actor,
        model_version=model_version,
        feed=PanelFeed(panel),
        broker=broker,
        ledger=ledger,
        clock=clock,
        limits=NO_LIMITS,
    )
    equity, actions, decided, orders = [capital], [], [], []
    for t in range(first, last):
        clock.set(close_time(panel, t))
        tick = trader.tick()
        if tick.action is None or tick.decided is None or tick.filled is None:
            raise TradingError(f"bar {tick.bar_close} was {tick.status}, not traded; the panel's grid has a hole.")
        actions.append(tick.action)
        decided.append(tick.decided)
        orders.append(tick.filled)
        held = broker.positions()
        units = np.array([float(held.get(symbol, 0)) for symbol in symbols])
        equity.append(float(broker.account().cash) + float(units @ panel.close[t + 1]))
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
    )


def shadow_backtest(
    *, actor: TradingModel, panel: BarPanel, first: int, last: int, capital: float = 100_000.0
) -> Backtest:
    """The research backtest of the same bars: features of the whole history at once, the environment's accounting."""
    table = MarketTable.from_panel(panel)

    def act(t: int, entries: NDArray[np.float32]) -> Floats:
        return actor.act(table.features[t + 1 - actor.lookback : t + 1], entries)

    return backtest(
        act=act,
        open_=table.open,
        close=table.close,
        tradable=table.tradable,
        first=first,
        last=last,
        guards=actor.guards,
        costs=actor.costs,
        capital=capital,
    )
