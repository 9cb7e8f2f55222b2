"""What `paper_trading_report` shows: its page, its pictures and its metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from cappuccino_ml.bars import BarPanel
from cappuccino_ml.reports import pictures
from cappuccino_ml.reports.paper import criteria_rows, paper_html
from cappuccino_ml.trading.paper import PaperReport
from cappuccino_ml.trading.session import EQUITY
from cappuccino_pipeline.metadata import markdown_table, mlflow_pages


@dataclass(frozen=True)
class Drawn:
    """Where the page and its pictures are."""

    page: Path
    equity: Path
    trades: Path


def draw_paper(report: PaperReport, *, panel: BarPanel, held_in: Path, facts: Mapping[str, str], folder: Path) -> Drawn:
    """Draw both pictures and write the page.

    Args:
        report: what to show.
        panel: the bars of the session.
        held_in: the session's folder.
        facts: of the model's registry version.
        folder: of the page and its pictures.
    """
    equity = pictures.session(
        equity=pd.read_parquet(held_in / EQUITY), report=report, label=report.source, path=folder / "session.png"
    )
    first, last = (
        int(np.searchsorted(panel.timestamps, np.datetime64(when)))
        for when in (report.session.first, report.session.last)
    )
    trades = pictures.session_trades(
        times=panel.timestamps[first : last + 1],
        close=panel.close[first : last + 1],
        fills=_frame(report),
        report=report.session,
        tickers=panel.universe.tickers,
        label=report.source,
        path=folder / "session_trades.png",
    )
    page = paper_html(report, facts=facts, pictures=[equity, trades], path=folder / "paper.html")
    return Drawn(page=page, equity=equity, trades=trades)


def _frame(report: PaperReport) -> pd.DataFrame:
    """The fills as the picture wants them: UTC without a zone, as in the equity file."""
    rows = [
        [fill.bar_close.replace(tzinfo=None), fill.symbol.split("-")[0], fill.side, fill.quantity, fill.price]
        for fill in report.fills
    ]
    frame = pd.DataFrame(rows, columns=["timestamp", "ticker", "side", "quantity", "price"])
    return frame.astype({"timestamp": "datetime64[us]", "quantity": "float64", "price": "float64"})


def _rounded(value: float) -> float:
    return round(value, 3) + 0.0  # no -0.0


def metadata_of(report: PaperReport, *, crowned: bool, facts: Mapping[str, str]) -> dict[str, Any]:
    """The numbers that a person judges a session by; `facts` are of the model's registry version."""
    compared, paid, shadow = report.session.comparison, report.execution, report.champion
    drifts = [
        [one.feature, f"{one.psi:.3f}", "" if one.usual is None else f"{one.usual:.3f}", one.word]
        for one in report.drift
    ]
    return {
        "session": report.session.label,
        "source": report.source,
        "model_version": report.session.model_version,
        "model_key": report.session.model_key,
        **mlflow_pages(facts),
        "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in report.decision.reasons) or "none"),
        "criteria": markdown_table(["criterion", "value", "limit", "met", "note"], criteria_rows(report.decision)),
        "thresholds": dg.MetadataValue.json(report.decision.settings.model_dump(mode="json")),
        "champion_moved": crowned,
        "bars": compared.bars,
        "fills": compared.fills,
        "orders_equal_to_backtest": compared.orders_equal,
        "return_gap_bps_per_turnover": _rounded(compared.gap_bps_per_turnover),
        "total_return_percent": _rounded(100 * compared.total_return),
        "max_drawdown_percent": _rounded(100 * compared.max_drawdown),
        "fees_quote": _rounded(paid.fees),
        "slippage_bps": _rounded(paid.slippage_bps),
        "slippage_bps_of_the_model": _rounded(paid.model_slippage_bps),
        "uptime_percent": _rounded(100 * report.uptime.share),
        "faults": dg.MetadataValue.json({**report.faults.counts, "crashes": report.faults.crashes}),
        "positions": markdown_table(
            ["symbol", "units", "value", "weight"],
            [[one.symbol, f"{one.units:.6f}", f"{one.value:,.0f}", f"{one.weight:.1%}"] for one in report.holdings],
        ),
        "champion_in_shadow": (
            f"version {shadow.version}: {shadow.total_return:+.2%}, Sharpe {shadow.sharpe:+.2f}"
            if shadow
            else report.champion_note
        ),
        "drift": markdown_table(["feature", "PSI", "usual in training", "word"], drifts),
        "drill": markdown_table(
            ["guard", "seen", "shown"],
            [[one.name, one.seen, "yes" if one.passed else "NO"] for one in report.drill.scenarios],
        ),
    }
