"""The long form of the features table, one row per symbol and bar: what the lake stores in monthly partitions."""

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cappuccino_ml.core import DataError
from cappuccino_ml.features.schema import FeatureSchema

KEYS = ("symbol", "timestamp")
PRICES = ("open_price", "close_price")  # "open" and "close" are features (log ratios); these are quote currency
TRADABLE = "tradable"


def frame_columns(schema: FeatureSchema) -> tuple[str, ...]:
    """symbol, timestamp, the features, open_price, close_price, tradable."""
    return (*KEYS, *schema.features, *PRICES, TRADABLE)


def arrow_schema(schema: FeatureSchema) -> pa.Schema:
    """The Parquet types of `frame_columns`."""
    types = {"symbol": pa.string(), "timestamp": pa.timestamp("us", tz="UTC"), TRADABLE: pa.bool_()}
    return pa.schema([(name, types.get(name, pa.float64())) for name in frame_columns(schema)])


def grid_of(frame: pd.DataFrame, schema: FeatureSchema) -> tuple[NDArray[np.datetime64], NDArray[np.intp]]:
    """Check that `frame` holds every symbol at every bar of one grid, exactly once.

    Returns:
        Open times [T], datetime64[us], and the order [T * N] that sorts the rows by time, then by the schema's tickers.

    Raises:
        DataError: a column, symbol or bar is missing, a symbol is unknown, or a row is double or off the grid.
    """
    absent = [name for name in frame_columns(schema) if name not in frame.columns]
    if absent:
        raise DataError(f"the features table lacks the columns {', '.join(absent)}; re-run indicators for all months.")
    if frame.empty:
        raise DataError("the features table has no rows; materialize indicators first.")
    ticker = pd.Index(schema.symbols).get_indexer(pd.Index(frame["symbol"]))
    _require_symbols(frame, schema, ticker)
    times_utc = pd.DatetimeIndex(frame["timestamp"])
    if times_utc.tz is None:
        raise DataError(f"the features table has timestamps without a time zone ({times_utc[0]}); store them in UTC.")
    times = times_utc.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    bar = np.timedelta64(schema.universe.bar)
    first = times.min()
    row, off = np.divmod(times - first, bar)
    if off.any():
        at = int(np.flatnonzero(off)[0])
        raise DataError(
            f"the row of {frame['symbol'].iloc[at]} at {times[at]}Z is off the {schema.timeframe} grid that starts at "
            f"{first}Z; align the bars and re-run indicators."
        )
    rows = int(row.max()) + 1
    count = np.bincount(row * len(schema.symbols) + ticker, minlength=rows * len(schema.symbols))
    if (count != 1).any():
        slot = int(np.flatnonzero(count != 1)[0])
        symbol, when = schema.symbols[slot % len(schema.symbols)], first + slot // len(schema.symbols) * bar
        raise DataError(
            f"the features table has {count[slot]} rows for {symbol} at {when}Z, but needs exactly 1; "
            "re-run indicators for that month."
        )
    timestamps = first + np.arange(rows) * bar
    return timestamps.astype("datetime64[us]"), np.lexsort((ticker, row))


def long_frame(
    schema: FeatureSchema,
    *,
    timestamps: NDArray[np.datetime64],
    features: NDArray[np.float64],
    open_price: NDArray[np.float64],
    close_price: NDArray[np.float64],
    tradable: NDArray[np.bool_],
) -> pd.DataFrame:
    """Arrays [T, N] and [T, N, F] as rows sorted by time, then by the schema's tickers."""
    rows, tickers = len(timestamps), len(schema.tickers)
    columns: dict[str, object] = {
        "symbol": np.tile(np.array(schema.symbols, dtype=object), rows),
        "timestamp": pd.DatetimeIndex(np.repeat(timestamps, tickers)).tz_localize("UTC"),
    }
    flat = features.reshape(rows * tickers, -1)
    columns |= {name: flat[:, column] for column, name in enumerate(schema.features)}
    columns |= {"open_price": open_price.ravel(), "close_price": close_price.ravel(), TRADABLE: tradable.ravel()}
    return pd.DataFrame(columns)


def _require_symbols(frame: pd.DataFrame, schema: FeatureSchema, ticker: NDArray[np.intp]) -> None:
    held = set(frame["symbol"])
    missing = [symbol for symbol in schema.symbols if symbol not in held]
    if missing:
        raise DataError(
            f"the features table has no rows for {', '.join(missing)}; re-run indicators for this universe."
        )
    if (ticker < 0).any():
        unknown = sorted(held - set(schema.symbols))
        raise DataError(
            f"the features table holds {', '.join(unknown)}, which the universe {', '.join(schema.symbols)} does not "
            "name; use the universe it was made with."
        )
