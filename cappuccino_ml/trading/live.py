"""A paper session as it happened, put together from the trader's own ledger and the bars that came in since."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import TradingError, artifact_folder, code_version, digest, is_done, read_settings, write_json
from cappuccino_ml.features import CONTEXT_BARS, MarketTable
from cappuccino_ml.trading.feed import close_time
from cappuccino_ml.trading.ledger import Row
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.record import fills_of
from cappuccino_ml.trading.replay import Session, research_act, research_sizes, shadow_backtest
from cappuccino_ml.trading.report import compare
from cappuccino_ml.trading.session import EQUITY, SESSION, SessionReport
from cappuccino_ml.trading.state import TradingState

Floats = NDArray[np.float64]


def live_rows(rows: Sequence[Row], *, version: str) -> list[Row]:
    """The rows of the newest stretch in which `version` traded: from its start, or the swap to it, on."""
    first = None
    for index, row in enumerate(rows):
        if row.kind == "start":
            first = None if row.payload["version"] != version else index if first is None else first
    return [] if first is None else list(rows[first:])


def live_session(rows: Sequence[Row], *, panel: BarPanel, version: str) -> tuple[Session, TradingState] | None:
    """What `version` did since it took over -> the session and the account's state before its first mark, or None.

    None until one bar was decided on and the bar after it has closed and is in `panel`. A bar without a decision has no
    orders. Equity is that of the fills in the ledger at the closes in `panel`, fees taken off.

    Args:
        rows: of the trader's ledger, oldest first.
        panel: bars up to now.
        version: registry version.

    Raises:
        TradingError: the ledger's bars are not on the panel's grid.
    """
    own = live_rows(rows, version=version)
    decisions = {row.payload["bar_close"]: row for row in own if row.kind == "decision"}
    if not decisions:
        return None
    began = next(row for row in own if row.kind == "mark")
    first = _row(panel, began.payload["bar_close"])
    last = min(_row(panel, max(decisions)) + 1, len(panel) - 1)
    if last <= first:
        return None
    symbols = panel.universe.symbols
    before = TradingState.replay([row for row in rows if row.seq < began.seq])
    bars, tickers = last - first, len(symbols)
    equity, held = np.empty(bars + 1), _units(before, symbols)
    equity[0] = began.payload["equity"]
    cash = float(equity[0] - held @ panel.close[first])
    orders, actions, decided = (np.zeros((bars, tickers)) for _ in range(3))
    own_fills = fills_of(own)
    for k in range(bars):
        close = _close(panel, first + k)
        if close in decisions:
            actions[k], decided[k] = decisions[close].payload["action"], decisions[close].payload["orders"]
        for fill in own_fills:
            if fill.bar_close.isoformat() == close:
                column, sign = symbols.index(fill.symbol), 1 if fill.side == "buy" else -1
                orders[k, column] += sign * fill.quantity
                held[column] += sign * fill.quantity - fill.coin_fee
                cash -= sign * fill.quantity * fill.price + fill.fee - fill.coin_fee * fill.price
        equity[k + 1] = cash + float(held @ panel.close[first + k + 1])
    session = Session(
        first=first,
        symbols=symbols,
        timestamps=panel.timestamps[first:last],
        equity=equity,
        returns=equity[1:] / equity[:-1] - 1.0,
        actions=actions,
        decided=decided,
        orders=orders,
        turnover=(np.abs(orders) * panel.open[first + 1 : last + 1]).sum(-1) / equity[:-1],
        bars_per_year=panel.universe.bars_per_year,
        bar=panel.universe.bar,
    )
    return session, before


def store_live(
    root: Path,
    *,
    actor: TradingModel,
    model_version: str,
    rows: Sequence[Row],
    panel: BarPanel,
    table: MarketTable,
    label: str,
) -> tuple[SessionReport, Path] | None:
    """Compare what happened with the backtest that starts from the same book -> report and folder, None as above.

    The backtest takes over what the guards remembered then, too: peak, entry prices, high-water marks, bars held,
    cool-downs and latched stops, whichever model traded before.
    """
    found = live_session(rows, panel=panel, version=model_version)
    if found is None:
        return None
    session, before = found
    first, last = session.first, session.first + len(session.orders)
    own = live_rows(rows, version=model_version)
    stamps = [str(stamp) for stamp in np.datetime_as_string(panel.timestamps[[first, last]], unit="m")]
    identity = [actor.key, model_version, *stamps, own[0].seq, own[-1].seq, code_version("environment", "trading")]
    folder = root / digest(identity)[:16]
    if not is_done(folder):
        units, close = _units(before, session.symbols), panel.close[first]
        seen = panel.slice(max(0, first + 1 - CONTEXT_BARS), first + 1)
        cash = float(session.equity[0] - units @ close)
        book = before.book(seen, cash=cash, units=units.tolist(), guards=actor.guards)
        book.mark(torch.from_numpy(close), actor.guards)
        shadow = shadow_backtest(actor=actor, table=table, first=first, last=last, book=book)
        with artifact_folder(folder) as aside:
            report = SessionReport(
                label=label,
                model_key=actor.key,
                model_version=model_version,
                first=stamps[0],
                last=stamps[1],
                comparison=compare(
                    session,
                    shadow,
                    costs=actor.costs,
                    label=label,
                    rows=own,
                    act_again=research_act(actor, table),
                    size_again=research_sizes(actor, table),
                ),
            )
            stamped = {"timestamp": panel.timestamps[first : last + 1]}
            pd.DataFrame({**stamped, "trader": session.equity, "backtest": shadow.equity}).to_parquet(aside / EQUITY)
            write_json(aside / SESSION, report)
    return read_settings(SessionReport, folder / SESSION), folder


def _units(state: TradingState, symbols: Sequence[str]) -> Floats:
    held = state.positions or {}
    return np.array([float(held.get(symbol, 0)) for symbol in symbols])


def _row(panel: BarPanel, close: str) -> int:
    opened = np.datetime64(datetime.fromisoformat(close).replace(tzinfo=None) - panel.universe.bar, "us")
    row = int(np.searchsorted(panel.timestamps, opened))
    if row >= len(panel) or panel.timestamps[row] != opened:
        raise TradingError(
            f"the ledger's bar that closed at {close} is not among the stored ones, which end at "
            f"{panel.timestamps[-1]}Z; materialize ohlcv_bars of that month."
        )
    return row


def _close(panel: BarPanel, row: int) -> str:
    return close_time(panel, row).isoformat()
