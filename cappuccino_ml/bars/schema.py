"""The columns of bars, as the lake stores them, and the door every source's rows pass."""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.core import DataError

PRICE_COLUMNS = ("open", "high", "low", "close")
BAR_COLUMNS = ("timestamp", *PRICE_COLUMNS, "volume")  # one symbol, as a source returns them
BARS_COLUMNS = ("symbol", *BAR_COLUMNS)  # several symbols in long form, as the lake keeps them
BARS_SCHEMA = {"symbol": "string", "timestamp": "timestamp[us, UTC]"} | dict.fromkeys(
    (*PRICE_COLUMNS, "volume"), "double"
)
TIMESTAMP: Final = "datetime64[us, UTC]"


def empty_bars(columns: tuple[str, ...] = BARS_COLUMNS) -> pd.DataFrame:
    """No rows, the right columns and types."""
    types = {"symbol": "str", "timestamp": TIMESTAMP}
    return pd.DataFrame({name: pd.Series([], dtype=types.get(name, "float64")) for name in columns})


def tidy_bars(frame: pd.DataFrame, *, symbol: str) -> pd.DataFrame:
    """One symbol's rows with the right types, sorted by time, each time once (the last one given wins: a revision).

    Raises:
        DataError: a column is missing or a value is not a number or a UTC time.
    """
    missing = [name for name in BAR_COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(
            f"bars for {symbol} lack the columns {', '.join(missing)}; "
            f"they have {', '.join(map(str, frame.columns))} and need {', '.join(BAR_COLUMNS)}."
        )
    try:
        tidy = pd.DataFrame({name: frame[name].astype("float64") for name in BAR_COLUMNS[1:]})
        tidy.insert(0, "timestamp", pd.to_datetime(frame["timestamp"], utc=True).astype(TIMESTAMP))
    except (TypeError, ValueError) as error:
        raise DataError(f"bars for {symbol} hold a value that is not a number or a time: {error}.") from error
    if tidy["timestamp"].isna().any():
        raise DataError(
            f"bars for {symbol} hold {int(tidy['timestamp'].isna().sum())} rows without a time; remove them."
        )
    finite = np.isfinite(tidy[list(BAR_COLUMNS[1:])].to_numpy()).all(axis=1)
    if not finite.all():
        first = tidy["timestamp"].iloc[int(finite.argmin())]
        raise DataError(
            f"bars for {symbol} hold {int((~finite).sum())} rows with an empty or infinite value, "
            f"one at {first:%Y-%m-%dT%H:%MZ}; remove or repair them."
        )
    tidy = tidy.sort_values("timestamp", kind="stable").drop_duplicates("timestamp", keep="last")
    return tidy.reset_index(drop=True)


def to_datetime64(moment: datetime) -> np.datetime64:
    """A UTC moment as datetime64[us]; a time without a zone is taken as UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")


def to_datetime(stamp: np.datetime64) -> datetime:
    """A datetime64 as a datetime with the UTC zone."""
    moment: datetime = stamp.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)


def times(frame: pd.DataFrame) -> NDArray[np.datetime64]:
    """The timestamp column as datetime64[us], UTC."""
    stamps: NDArray[np.datetime64] = frame["timestamp"].dt.tz_convert(None).to_numpy(dtype="datetime64[us]")
    return stamps
