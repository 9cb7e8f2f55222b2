"""Bars: universe, schema, sources, the common grid, the audit and the monthly ingest."""

from cappuccino_ml.bars.aggregate import BUILT_TIMEFRAMES, BuiltFromHours
from cappuccino_ml.bars.alpaca_source import AlpacaSource
from cappuccino_ml.bars.answered import OVERLAP_BARS
from cappuccino_ml.bars.audit import AuditReport, Finding, Outage, audit_bars
from cappuccino_ml.bars.ccxt_source import CcxtSource
from cappuccino_ml.bars.files import FilesSource, files_source
from cappuccino_ml.bars.grid import align
from cappuccino_ml.bars.ingest import (
    bars_table,
    fetch_bars,
    ingest_month,
    month_bounds,
    months_between,
    open_months,
    read_bars,
    read_panel,
)
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.planted import long_or_cash, regime_probability
from cappuccino_ml.bars.quality import (
    Lateness,
    Outlier,
    Shift,
    compare_clocks,
    find_outliers,
    lateness,
    lateness_text,
)
from cappuccino_ml.bars.schema import BARS_COLUMNS, BARS_SCHEMA
from cappuccino_ml.bars.simulated import SimulatedSource
from cappuccino_ml.bars.source import BarSource
from cappuccino_ml.bars.universe import TIMEFRAMES, Universe

__all__ = [
    "BARS_COLUMNS",
    "BARS_SCHEMA",
    "BUILT_TIMEFRAMES",
    "OVERLAP_BARS",
    "TIMEFRAMES",
    "AlpacaSource",
    "AuditReport",
    "BarPanel",
    "BarSource",
    "BuiltFromHours",
    "CcxtSource",
    "FilesSource",
    "Finding",
    "Lateness",
    "Outage",
    "Outlier",
    "Shift",
    "SimulatedSource",
    "Universe",
    "align",
    "audit_bars",
    "bars_table",
    "compare_clocks",
    "fetch_bars",
    "files_source",
    "find_outliers",
    "ingest_month",
    "lateness",
    "lateness_text",
    "long_or_cash",
    "month_bounds",
    "months_between",
    "open_months",
    "read_bars",
    "read_panel",
    "regime_probability",
]
