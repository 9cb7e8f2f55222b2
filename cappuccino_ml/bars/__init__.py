"""Bars: universe, schema, sources, the common grid, the audit and the monthly ingest."""

from cappuccino_ml.bars.audit import AuditReport, Finding, audit_bars
from cappuccino_ml.bars.files import FilesSource
from cappuccino_ml.bars.grid import align
from cappuccino_ml.bars.ingest import bars_table, ingest_month, months_between, read_bars, read_panel
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.planted import long_or_cash, regime_probability
from cappuccino_ml.bars.schema import BARS_COLUMNS, BARS_SCHEMA
from cappuccino_ml.bars.simulated import SimulatedSource
from cappuccino_ml.bars.source import BarSource
from cappuccino_ml.bars.universe import TIMEFRAMES, Universe

__all__ = [
    "BARS_COLUMNS",
    "BARS_SCHEMA",
    "TIMEFRAMES",
    "AuditReport",
    "BarPanel",
    "BarSource",
    "FilesSource",
    "Finding",
    "SimulatedSource",
    "Universe",
    "align",
    "audit_bars",
    "bars_table",
    "ingest_month",
    "long_or_cash",
    "months_between",
    "read_bars",
    "read_panel",
    "regime_probability",
]
