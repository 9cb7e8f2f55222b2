"""What is worth a person's look but stops nothing: outliers against neighbours, symbols out of step, bars overdue."""

from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cappuccino_ml.bars.grid import bar_step, hour_text
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.schema import times, to_datetime, to_datetime64
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import Settings

OUTLIER_SPREADS = 20.0  # times the local median: 31 of 166,000 real hourly bars, all of them days one remembers
OUTLIER_LEAST = 0.05  # and at least this far, as a share of the price: quiet hours make small moves look large
_NEIGHBOURS = 169  # bars, centred, whose median says what is usual: a week of hours and this one
_MAX_LAG = 3  # bars by which two symbols are shifted against each other when they are compared
_LEAST_CORRELATION = 0.2  # below it two symbols say nothing about each other's clock
_LEAST_PAIRS = 200  # bars needed to compare two clocks

Floats = NDArray[np.float64]


class Outlier(Settings):
    """One bar far from its neighbours. It is flagged and kept: crashes are real, and so are an exchange's errors."""

    symbol: str
    at: datetime  # open of the bar, UTC
    kind: Literal["spike", "wick"]  # a close that jumps and comes back; a high or low far beyond the body
    share: float  # how far, as log share of the price
    spreads: float  # how far, in medians of the neighbouring week


class Shift(Settings):
    """How well a symbol's returns move with the mean of the others, at its own times and shifted."""

    symbol: str
    correlation: float  # at the same times
    best_lag: int  # bars; above 0 if the symbol's times are late against the others
    best_correlation: float
    partial_bars: int  # bars that this symbol lacks and another has

    @property
    def suspicious(self) -> bool:
        """Whether the symbol fits the others clearly better when shifted: a time zone or a bar's end taken as open."""
        return (
            self.best_lag != 0
            and self.best_correlation > _LEAST_CORRELATION
            and self.best_correlation > 2 * max(self.correlation, 0.0)
        )


class Lateness(Settings):
    """How far a symbol's newest bar is behind the newest one that can be there."""

    symbol: str
    newest: datetime | None  # open of the newest bar, UTC
    behind_bars: int


def find_outliers(frame: pd.DataFrame, universe: Universe) -> list[Outlier]:
    """Bars whose close jumps away from both neighbours, or whose wick is far beyond what the week around it shows.

    Args:
        frame: long bars (columns symbol, timestamp, open, high, low, close, volume; any row order), prices above 0.
        universe: the symbols to look at.

    Returns:
        By time, then symbol. For people: a flag uses bars after t, so it may never become a feature.
    """
    found: list[Outlier] = []
    for symbol in universe.symbols:
        rows = frame[frame["symbol"] == symbol].sort_values("timestamp")
        if len(rows) < _NEIGHBOURS:
            continue
        stamps, close = times(rows), np.log(rows["close"].to_numpy())
        body = np.log(rows[["open", "close"]].to_numpy())
        spike = np.zeros(len(rows))
        spike[1:-1] = np.abs(close[1:-1] - (close[:-2] + close[2:]) / 2)
        high, low = np.log(rows["high"].to_numpy()), np.log(rows["low"].to_numpy())
        wick = np.maximum(high - body.max(axis=1), body.min(axis=1) - low)
        kinds: tuple[tuple[Literal["spike", "wick"], Floats], ...] = (("spike", spike), ("wick", wick))
        for kind, distance in kinds:
            usual = _local_median(distance)
            far = (distance > OUTLIER_SPREADS * usual) & (distance > OUTLIER_LEAST)
            found += [
                Outlier(
                    symbol=symbol,
                    at=to_datetime(stamps[row]),
                    kind=kind,
                    share=float(distance[row]),
                    spreads=float(distance[row] / usual[row]) if usual[row] > 0 else float("inf"),
                )
                for row in np.flatnonzero(far)
            ]
    return sorted(found, key=lambda outlier: (outlier.at, outlier.symbol, outlier.kind))


def compare_clocks(panel: BarPanel) -> list[Shift]:
    """Do the symbols tell the same time? Crypto moves together within the hour, so a shifted symbol stands out.

    Returns:
        One per symbol; empty for a single symbol or fewer than 200 bars, which cannot be compared.
    """
    if panel.close.shape[1] < 2 or len(panel) <= _LEAST_PAIRS:
        return []
    moves = np.diff(np.log(panel.close), axis=0)
    present, someone = ~panel.is_filled, ~panel.is_filled.all(axis=1)
    shifts = []
    for column, symbol in enumerate(panel.universe.symbols):
        own, others = moves[:, column], np.delete(moves, column, axis=1).mean(axis=1)
        by_lag = {lag: _correlation(own, others, lag) for lag in range(-_MAX_LAG, _MAX_LAG + 1)}
        best = max(by_lag, key=lambda lag: (by_lag[lag], -abs(lag)))
        shifts.append(
            Shift(
                symbol=symbol,
                correlation=by_lag[0],
                best_lag=best,
                best_correlation=by_lag[best],
                partial_bars=int((someone & ~present[:, column]).sum()),
            )
        )
    return shifts


def lateness(frame: pd.DataFrame, universe: Universe, *, now: datetime, end: datetime | None) -> list[Lateness]:
    """How many closed bars each symbol lacks at its end.

    Args:
        frame: long bars.
        universe: the symbols.
        now: the present moment.
        end: end (exclusive) of what the source offers, None where bars keep coming.
    """
    step = bar_step(universe)
    until = now if end is None else min(now, end)
    epoch = np.datetime64(0, "us")
    newest_possible = epoch + ((to_datetime64(until) - epoch) // step - 1) * step
    stamps, symbols = times(frame), frame["symbol"].to_numpy()
    found = []
    for symbol in universe.symbols:
        own = stamps[symbols == symbol]
        newest = own.max() if len(own) else None
        first = stamps.min() if len(stamps) else newest_possible
        behind = (newest_possible - (newest if newest is not None else first - step)) // step
        found.append(
            Lateness(
                symbol=symbol,
                newest=None if newest is None else to_datetime(newest),
                behind_bars=max(0, int(behind)),
            )
        )
    return found


def lateness_text(late: Lateness) -> str:
    """One sentence for a page or an alarm."""
    if late.newest is None:
        return f"{late.symbol} has no bars at all; re-run ohlcv_bars."
    newest = hour_text(to_datetime64(late.newest))
    month = f"{late.newest:%Y-%m}"
    return (
        f"bars for {late.symbol} stop at {newest}, {late.behind_bars} closed bars ago; re-run ohlcv_bars for {month}."
    )


def _local_median(values: Floats) -> Floats:
    half = _NEIGHBOURS // 2
    windows = sliding_window_view(np.pad(values, half, mode="reflect"), _NEIGHBOURS)
    median: Floats = np.median(windows, axis=-1)
    return median


def _correlation(own: Floats, others: Floats, lag: int) -> float:
    """Of `own` with `others` `lag` bars earlier; 0 where either never moves."""
    stop = len(own)
    a, b = own[max(lag, 0) : stop + min(lag, 0)], others[max(-lag, 0) : stop - max(lag, 0)]
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
