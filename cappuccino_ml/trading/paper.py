"""The paper report: what the session did, cost and held, what went wrong, what the champion would have done, drift."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import (
    CappuccinoError,
    LakeError,
    Settings,
    artifact_folder,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.environment import Costs
from cappuccino_ml.features import MarketTable
from cappuccino_ml.metrics import annual_sharpe, max_drawdown, total_return
from cappuccino_ml.trading.decision import Decision
from cappuccino_ml.trading.deployment import Deployment
from cappuccino_ml.trading.drift import Drift
from cappuccino_ml.trading.drill import Drill
from cappuccino_ml.trading.ledger import Row
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.record import Faults, Fill
from cappuccino_ml.trading.replay import shadow_backtest
from cappuccino_ml.trading.session import SessionReport
from cappuccino_ml.trading.state import TradingState

_REPORT = "paper.json"


class Shadow(Settings):
    """Another model on the session's bars, without orders."""

    version: str
    arm: str
    total_return: float
    sharpe: float  # annual
    max_drawdown: float
    turnover: float  # sum of traded notional over equity
    fills: int


class Execution(Settings):
    """What trading cost, beside what the model's costs say. Basis points of the traded notional."""

    notional: float  # quote currency
    fees: float  # quote currency
    fee_bps: float
    model_fee_bps: float
    slippage_bps: float  # against the open of the bar after the decision; above 0 is worse for us
    model_slippage_bps: float


class Holding(Settings):
    """One position at the end of the session."""

    symbol: str
    units: float
    price: float
    value: float
    weight: float


class Uptime(Settings):
    """Bars decided out of those that closed between the first and the last decision."""

    decided: int
    expected: int

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.decided / self.expected if self.expected else 0.0


class PaperReport(Settings):
    """Everything a person needs to let a model become champion, or not."""

    source: str  # label of the bars
    replayed: bool  # history through the trader, not a session as it happened
    session: SessionReport
    deployment: Deployment | None
    decision: Decision
    drill: Drill
    faults: Faults
    uptime: Uptime
    fills: tuple[Fill, ...]
    execution: Execution
    holdings: tuple[Holding, ...]
    champion: Shadow | None
    champion_note: str  # why there is none
    drift: tuple[Drift, ...]
    drift_note: str  # why there is none


def shadow(
    *, version: str, model: TradingModel, table: MarketTable, first: int, last: int
) -> tuple[Shadow | None, str]:
    """(`model` on the session's bars without orders, ""), or (None, why that cannot be)."""
    try:
        run = shadow_backtest(actor=model, table=table, first=first, last=last)
    except (CappuccinoError, ValueError) as error:
        return None, f"version {version} cannot be run beside it: {error}"
    return (
        Shadow(
            version=version,
            arm=model.arm,
            total_return=total_return(run.returns),
            sharpe=annual_sharpe(run.returns, table.schema.universe.bars_per_year),
            max_drawdown=max_drawdown(run.returns),
            turnover=float(run.turnover.sum()),
            fills=int(np.count_nonzero(run.orders)),
        ),
        "",
    )


def execution(fills: Sequence[Fill], *, panel: BarPanel, costs: Costs) -> Execution:
    """Fees and slippage of `fills`. A fill is compared with the open that the backtest would have filled it at."""
    columns = {symbol: column for column, symbol in enumerate(panel.universe.symbols)}
    notional = fees = worse = 0.0
    for fill in fills:
        opened = np.datetime64(fill.bar_close.replace(tzinfo=None), "us")  # the next bar opens when this one closes
        row = int(np.searchsorted(panel.timestamps, opened))
        if row < len(panel) and panel.timestamps[row] == opened:
            price = float(panel.open[row, columns[fill.symbol]])
            worse += fill.quantity * (fill.price - price) * (1 if fill.side == "buy" else -1)
        notional += fill.quantity * fill.price
        fees += fill.fee
    share = 1e4 / notional if notional > 0 else 0.0
    return Execution(
        notional=notional,
        fees=fees,
        fee_bps=fees * share,
        model_fee_bps=costs.fee_bps,
        slippage_bps=worse * share,
        model_slippage_bps=costs.slippage_bps,
    )


def holdings(rows: Sequence[Row], *, panel: BarPanel, row: int, equity: float) -> tuple[Holding, ...]:
    """Positions that the ledger adds up to, valued at the close of `row`."""
    units = TradingState.replay(rows).positions or {}
    prices = dict(zip(panel.universe.symbols, panel.close[row].tolist(), strict=True))
    return tuple(
        Holding(
            symbol=symbol,
            units=float(held),
            price=prices[symbol],
            value=float(held) * prices[symbol],
            weight=float(held) * prices[symbol] / equity,
        )
        for symbol, held in sorted(units.items())
        if held and symbol in prices
    )


def uptime(rows: Sequence[Row], *, expected: int) -> Uptime:
    """Bars with a decision, out of `expected`."""
    return Uptime(decided=len({row.payload["bar_close"] for row in rows if row.kind == "decision"}), expected=expected)


def store_paper(root: Path, report: PaperReport) -> Path:
    """Write the report below `root` under its own digest -> its folder; the same report is kept."""
    folder = root / digest(report)[:16]
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            write_json(aside / _REPORT, report)
    return folder


def read_paper(folder: Path) -> PaperReport:
    """Read what `store_paper` wrote.

    Raises:
        LakeError: it is not finished.
    """
    if not is_done(folder):
        raise LakeError(f"{folder} holds no finished report (no DONE mark); materialize paper_trading_report again.")
    return read_settings(PaperReport, folder / _REPORT)
