"""One UTC grid for all symbols: joined by timestamp, holes filled forward and marked, never joined by row number."""

from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.schema import PRICE_COLUMNS, times, to_datetime64
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import DataError


def hour_text(moment: np.datetime64) -> str:
    """`2024-03-01T05:00Z`, for messages."""
    return f"{np.datetime_as_string(moment, unit='m')}Z"


def bar_step(universe: Universe) -> np.timedelta64:
    """The length of one bar as timedelta64[us]."""
    return np.timedelta64(universe.bar, "us")


def off_grid(stamps: NDArray[np.datetime64], universe: Universe) -> NDArray[np.bool_]:
    """Which times [T] are not multiples of the bar length counted from 1970-01-01T00Z."""
    rest = stamps.astype("datetime64[us]").astype(np.int64) % int(bar_step(universe).astype(np.int64))
    return np.asarray(rest != 0)


def align(
    frame: pd.DataFrame,
    universe: Universe,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    cap_bars: int | None = None,
) -> BarPanel:
    """Put long bars on the canonical grid.

    The panel begins at the first time every symbol has had a bar (a symbol listed late starts the universe) and
    ends with the last bar any symbol has. Inside, a missing bar becomes a row with the last close as open, high, low
    and close, volume 0 and `is_filled`.

    Args:
        frame: columns symbol, timestamp, open, high, low, close, volume; any order; of a repeated row the last counts.
        universe: the tickers, in the order of the panel's columns; rows of other symbols are ignored.
        start: leave out bars that open before it.
        end: leave out bars that open at or after it.
        cap_bars: longest hole that is filled, in bars; the universe's `fill_cap_bars` if not given.

    Returns:
        T rows by N tickers.

    Raises:
        DataError: a symbol has no bars, a time is off the grid, or a hole is longer than `cap_bars`.
    """
    cap_bars = universe.fill_cap_bars if cap_bars is None else cap_bars
    frame = frame[frame["symbol"].isin(universe.symbols)]
    if start is not None:
        frame = frame[frame["timestamp"] >= pd.Timestamp(to_datetime64(start), tz="UTC")]
    if end is not None:
        frame = frame[frame["timestamp"] < pd.Timestamp(to_datetime64(end), tz="UTC")]
    stamps, step = times(frame), bar_step(universe)
    if (wrong := off_grid(stamps, universe)).any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"the bar of {frame['symbol'].iloc[row]} at {hour_text(stamps[row])} is off the {universe.timeframe} grid, "
            "whose bars open at multiples of that length from midnight UTC; repair the source's times."
        )
    by_symbol = {symbol: np.flatnonzero(frame["symbol"] == symbol) for symbol in universe.symbols}
    if empty := [symbol for symbol, rows in by_symbol.items() if len(rows) == 0]:
        raise DataError(
            f"there are no bars for {', '.join(empty)} in the range asked for; "
            "ingest them, widen the range or leave the tickers out."
        )
    begin = min(stamps[rows].min() for rows in by_symbol.values())
    grid = np.arange(begin, stamps.max() + step, step)
    shape = (len(grid), len(universe.tickers))
    columns = {name: np.full(shape, np.nan) for name in (*PRICE_COLUMNS, "volume")}
    for column, rows in enumerate(by_symbol.values()):
        place = (stamps[rows] - begin) // step
        for name, values in columns.items():
            values[place, column] = frame[name].to_numpy(dtype=np.float64)[rows]
    common = int(np.isfinite(columns["close"]).argmax(axis=0).max())
    known, last_row = _carry(columns["close"])
    grid, known, last_row = grid[common:], known[common:], last_row[common:]
    is_filled = last_row != np.arange(common, shape[0])[:, None]
    _refuse_long_holes(is_filled, last_row, grid, common, universe, cap_bars)
    prices = {name: np.where(is_filled, known, columns[name][common:]) for name in PRICE_COLUMNS}
    volume = np.where(is_filled, 0.0, columns["volume"][common:])
    return BarPanel(universe=universe, timestamps=grid, volume=volume, is_filled=is_filled, **prices)


def _carry(close: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The last known close [T, N] and the row it stands in; before a symbol's first bar NaN and row 0."""
    rows = np.where(np.isfinite(close), np.arange(len(close))[:, None], 0)
    last_row = np.maximum.accumulate(rows, axis=0)
    return np.take_along_axis(close, last_row, axis=0), last_row


def _refuse_long_holes(
    is_filled: NDArray[np.bool_],
    last_row: NDArray[np.int64],
    grid: NDArray[np.datetime64],
    common: int,
    universe: Universe,
    cap_bars: int,
) -> None:
    length = np.where(is_filled, np.arange(common, common + len(grid))[:, None] - last_row, 0)
    if length.max(initial=0) <= cap_bars:
        return
    _, column = np.unravel_index(int(length.argmax()), length.shape)
    longest = int(length.max())
    row = int(length[:, column].argmax())
    raise DataError(
        long_hole_text(universe.symbols[int(column)], grid[row] - (longest - 1) * bar_step(universe), longest, cap_bars)
    )


def long_hole_text(symbol: str, first: np.datetime64, bars: int, cap_bars: int) -> str:
    """The one sentence about a hole that is too long to fill."""
    return (
        f"{symbol} has no bars for {bars} bars from {hour_text(first)}, more than the {cap_bars} that may be filled; "
        f"re-run ohlcv_bars for {np.datetime_as_string(first, unit='M')}, supply these bars or start the range after "
        "the hole."
    )
