"""Are these bars fit to use? Every finding names the symbol, the first bar, how many, the limit and the way out."""

from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.bars.grid import bar_step, hour_text, long_hole_text, off_grid
from cappuccino_ml.bars.schema import PRICE_COLUMNS, times, to_datetime
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import Settings

Severity = Literal["error", "warn", "info"]
Stamps = NDArray[np.datetime64]


class Finding(Settings):
    """One thing worth saying about one symbol."""

    symbol: str
    kind: str  # absent, duplicate, off_grid, not_finite, not_positive, inconsistent, hole, behind, listed_late
    first: datetime | None  # open of the first bar concerned, UTC
    bars: int
    severity: Severity
    message: str


class Outage(Settings):
    """A stretch without bars, and whom it concerned: an exchange's outage shows in all symbols at once."""

    first: datetime  # open of the first missing bar, UTC
    bars: int
    symbols: tuple[str, ...]


class AuditReport(Settings):
    """All findings, and the counts a person wants to see beside them."""

    passed: bool  # no finding of severity error
    findings: list[Finding]
    outages: list[Outage]  # every hole between a symbol's first and last bar, those of several symbols as one
    rows: dict[str, int]  # by symbol
    filled: dict[str, int]  # bars that align would fill, by symbol, from the common first bar on
    zero_volume: dict[str, int]  # bars without trades, by symbol: normal on thin venues
    first: datetime | None  # common first bar open, UTC
    last: datetime | None  # last bar open of any symbol, UTC

    @property
    def errors(self) -> list[Finding]:
        """The findings that make the audit fail."""
        return [finding for finding in self.findings if finding.severity == "error"]


def audit_bars(frame: pd.DataFrame, universe: Universe, *, cap_bars: int | None = None) -> AuditReport:
    """Check long bars (columns symbol, timestamp, open, high, low, close, volume; any row order).

    Errors: a symbol without bars, duplicate or off-grid times, values that are not finite, prices not above zero,
    volume below zero, high or low inside the body, a hole longer than `cap_bars`, a symbol that stops more than
    `cap_bars` before the others. Warnings: a symbol listed late, which starts the universe, and one that stops a little
    before the others. A hole that can be filled is for information: exchanges have outages.
    """
    cap_bars = universe.fill_cap_bars if cap_bars is None else cap_bars
    by_symbol = {symbol: frame[frame["symbol"] == symbol].sort_values("timestamp") for symbol in universe.symbols}
    stamps = {symbol: times(rows) for symbol, rows in by_symbol.items()}
    held = {symbol: moments for symbol, moments in stamps.items() if len(moments)}
    common = max((moments[0] for moments in held.values()), default=None)
    last = max((moments[-1] for moments in held.values()), default=None)
    findings: list[Finding] = []
    for symbol, rows in by_symbol.items():
        if symbol not in held:
            message = f"there are no bars for {symbol}; ingest them or take the ticker out of the universe."
            findings.append(
                Finding(symbol=symbol, kind="absent", first=None, bars=0, severity="error", message=message)
            )
            continue
        findings += _row_findings(symbol, rows, stamps[symbol], universe)
        findings += _edge_findings(symbol, held, universe, cap_bars)
        findings += _hole_findings(symbol, stamps[symbol], common, universe, cap_bars)
    return AuditReport(
        passed=all(finding.severity != "error" for finding in findings),
        findings=findings,
        outages=_outages(findings),
        rows={symbol: len(rows) for symbol, rows in by_symbol.items()},
        filled={symbol: _missing(stamps[symbol], common, last, universe) for symbol in held},
        zero_volume={symbol: int((rows["volume"] == 0).sum()) for symbol, rows in by_symbol.items()},
        first=_moment(common),
        last=_moment(last),
    )


def _row_findings(symbol: str, rows: pd.DataFrame, stamps: Stamps, universe: Universe) -> list[Finding]:
    values = {name: rows[name].to_numpy(dtype=np.float64) for name in (*PRICE_COLUMNS, "volume")}
    prices = np.stack([values[name] for name in PRICE_COLUMNS])
    finite = np.isfinite(prices).all(axis=0) & np.isfinite(values["volume"])
    body_top, body_bottom = np.maximum(values["open"], values["close"]), np.minimum(values["open"], values["close"])
    wrong = {
        "duplicate": (np.concatenate(([False], np.diff(stamps) == np.timedelta64(0))), "repeat a bar's time"),
        "off_grid": (off_grid(stamps, universe), f"do not open on the {universe.timeframe} grid"),
        "not_finite": (~finite, "hold a value that is not a number"),
        "not_positive": (
            finite & ((prices <= 0).any(axis=0) | (values["volume"] < 0)),
            "hold a price <= 0 or a volume < 0",
        ),
        "inconsistent": (
            finite & ((values["high"] < body_top) | (values["low"] > body_bottom)),
            "have a high below or a low above open or close",
        ),
    }
    return [
        Finding(
            symbol=symbol,
            kind=kind,
            first=_moment(stamps[int(rows_wrong.argmax())]),
            bars=int(rows_wrong.sum()),
            severity="error",
            message=f"{int(rows_wrong.sum())} bars of {symbol} {what}, the first at "
            f"{hour_text(stamps[int(rows_wrong.argmax())])}; repair them at the source and ingest that month again.",
        )
        for kind, (rows_wrong, what) in wrong.items()
        if rows_wrong.any()
    ]


def _edge_findings(symbol: str, held: dict[str, Stamps], universe: Universe, cap_bars: int) -> list[Finding]:
    step = bar_step(universe)
    first, last = held[symbol][0], held[symbol][-1]
    late = int((first - min(moments[0] for moments in held.values())) // step)
    behind = int((max(moments[-1] for moments in held.values()) - last) // step)
    findings = []
    if late > 0:
        message = (
            f"{symbol} begins at {hour_text(first)}, {late} bars after the first symbol; the universe begins there."
        )
        findings.append(
            Finding(
                symbol=symbol, kind="listed_late", first=_moment(first), bars=late, severity="warn", message=message
            )
        )
    if behind > 0:
        message = (
            f"bars for {symbol} stop at {hour_text(last)}, {behind} bars behind the others, and at most "
            f"{cap_bars} may be filled; ingest "
            f"{np.datetime_as_string(last, unit='M')} again or end the range there."
        )
        severity: Severity = "error" if behind > cap_bars else "warn"
        findings.append(
            Finding(
                symbol=symbol,
                kind="behind",
                first=_moment(last + step),
                bars=behind,
                severity=severity,
                message=message,
            )
        )
    return findings


def _hole_findings(
    symbol: str, stamps: Stamps, common: np.datetime64 | None, universe: Universe, cap_bars: int
) -> list[Finding]:
    step = bar_step(universe)
    findings = []
    gaps = np.diff(stamps) // step - 1
    for row in np.flatnonzero(gaps > 0):
        bars, first = int(gaps[row]), stamps[row] + step
        used = common is None or stamps[row + 1] > common  # before the common first bar no panel reads it
        severity: Severity = "error" if bars > cap_bars and used else "info"
        message = (
            long_hole_text(symbol, first, bars, cap_bars)
            if severity == "error"
            else f"{symbol} has no bars for {bars} bars from {hour_text(first)}; they are filled and marked."
        )
        findings.append(
            Finding(symbol=symbol, kind="hole", first=_moment(first), bars=bars, severity=severity, message=message)
        )
    return findings


def _outages(findings: list[Finding]) -> list[Outage]:
    """Holes with the same first bar and length are one outage."""
    found: dict[tuple[datetime, int], list[str]] = {}
    for finding in findings:
        if finding.kind == "hole" and finding.first is not None:
            found.setdefault((finding.first, finding.bars), []).append(finding.symbol)
    return [Outage(first=first, bars=bars, symbols=tuple(found[first, bars])) for first, bars in sorted(found)]


def _missing(stamps: Stamps, common: np.datetime64 | None, last: np.datetime64 | None, universe: Universe) -> int:
    assert common is not None
    assert last is not None
    return int((last - common) // bar_step(universe)) + 1 - len(np.unique(stamps[stamps >= common]))


def _moment(stamp: np.datetime64 | None) -> datetime | None:
    return None if stamp is None else to_datetime(stamp)
