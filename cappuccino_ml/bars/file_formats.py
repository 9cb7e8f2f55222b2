"""One bar file to bars: Parquet, Feather or CSV with the columns, times and headers that the usual vendors write."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyarrow import ArrowException

from cappuccino_ml.bars.file_names import BarFile, suffix_of
from cappuccino_ml.bars.schema import BAR_COLUMNS, PRICE_COLUMNS, tidy_bars
from cappuccino_ml.core import DataError

# The first that a file has is used: an epoch, where there is one, before text.
_TIME_NAMES = ("timestamp", "time", "open_time", "unix", "unix_timestamp", "datetime", "date")
_BINANCE_COLUMNS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_QUOTE_VOLUMES = {"quote_volume", "quote_asset_volume", "volume_quote"}
# Understood and not needed; an error about missing columns does not name them as riddles.
_KNOWN_EXTRAS = {*_TIME_NAMES, *_BINANCE_COLUMNS, *_QUOTE_VOLUMES, "symbol", "trades", "tradecount", "trade_count"}
# An epoch below the limit counts that many nanoseconds: in seconds 1e11 is the year 5138, in milliseconds 1973.
_EPOCH_UNITS = ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e19, 1))
_OTHER_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_TWELVE_HOURS = "%Y-%m-%d %I-%p"  # 2019-10-17 09-AM, as old files of CryptoDataDownload have it
_LISTED_COLUMNS = 16
_Columns = dict[str, list[Any]]


def read_bar_file(file: BarFile) -> pd.DataFrame:
    """The bars of one file, sorted by time, each time once (the row given last wins).

    Columns are found by name, in any case and order. Times are the bars' opens: UTC unless the text says otherwise, or
    an epoch in s, ms, us or ns, decided value by value: Binance went from ms to us with 2025. `volume` is in the base
    currency: of `Volume BTC` and `Volume USDT` the file's name tells which that is. A CSV may begin with the line in
    which CryptoDataDownload names itself; without a header it must have the twelve columns of Binance's klines.

    Raises:
        DataError: the bytes are not that format, columns are missing or ambiguous, there is no row or more than one
            symbol, or a value is not a number or time.
    """
    path, kind = file.path, suffix_of(file.path).split(".")[1].upper()
    if path.stat().st_size == 0:
        raise DataError(f"{path} cannot be read as {kind} (it is empty); replace or remove the file.")
    reader: Callable[[Path], pd.DataFrame] = {"CSV": _read_csv, "FEATHER": pd.read_feather}.get(kind, pd.read_parquet)
    try:
        raw = reader(path)
    except (OSError, EOFError, ValueError, zlib.error, ArrowException) as error:
        raise DataError(f"{path} cannot be read as {kind} ({_reason(error)}); replace the file.") from error
    if raw.index.name is not None:
        raw = raw.reset_index()
    columns = _mapped(raw.columns, file)
    if raw.empty:
        raise DataError(f"{path} holds no rows; replace or remove the file.")
    for column in raw.columns:
        if _plain(column) == "symbol" and len(symbols := list(raw[column].unique())) > 1:
            raise DataError(f"{path} holds bars of {_listed(symbols, ' and ')}; give each symbol a file of its own.")
    beside = [column for column in raw.columns if _plain(column) in _TIME_NAMES and column != columns["timestamp"]]
    frame = pd.DataFrame({name: _numbers(raw[columns[name]], path) for name in BAR_COLUMNS[1:]})
    frame.insert(0, "timestamp", _moments(raw[columns["timestamp"]], path, beside=beside))
    return tidy_bars(frame, symbol=path.name)


def _reason(error: Exception) -> str:
    """What a library says went wrong, without its advice on how to call it."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def _read_csv(path: Path) -> pd.DataFrame:
    packed = suffix_of(path) == ".csv.gz"
    with gzip.open(path) if packed else path.open("rb") as stream:
        lines = [stream.readline(4096).decode("utf-8-sig") for _ in range(2)]
    if "\0" in lines[0] or lines[0].lstrip().startswith("<"):
        raise ValueError("it is not lines of values between commas")
    banner = "cryptodatadownload" in lines[0].lower() or lines[0].lower().startswith("http")
    line = lines[1 if banner else 0].strip("\r\n")
    if other := [name for mark, name in _OTHER_MARKS.items() if line.count(mark) > line.count(",")]:
        raise DataError(
            f"{path} has {other[0]} between its values; save it with commas between them, a point before decimals "
            "and nothing between thousands, such as 2024-01-31T13:00Z,1234.5."
        )
    header = line.strip().split(",")
    bare = all(_is_number(field.strip('"')) for field in header)
    if bare and len(header) != len(_BINANCE_COLUMNS):
        raise ValueError(
            f"it has no header line, and not the {len(_BINANCE_COLUMNS)} columns of Binance's klines but {len(header)}"
        )
    raw = pd.read_csv(
        path,
        skiprows=1 if banner else 0,
        header=None if bare else 0,
        names=_BINANCE_COLUMNS if bare else None,
        compression="gzip" if packed else None,
        low_memory=False,
    )
    if not isinstance(raw.index, pd.RangeIndex):  # pandas would take the first values for an index and shift the rest
        raise ValueError("its rows have more values than its header has names")
    return raw


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plain(column: Any) -> str:
    """A column's name in lower case; pandas calls the second `Volume` of a header `Volume.1`."""
    return re.sub(r"\.\d+$", "", re.sub(r"[\s_-]+", "_", str(column).strip().lower()))


def _mapped(columns: Iterable[Any], file: BarFile) -> dict[str, Any]:
    """The file's column for each of `BAR_COLUMNS`."""
    by_name: _Columns = {}
    for column in columns:
        by_name.setdefault(_plain(column), []).append(column)
    found = {
        "timestamp": next((by_name[name] for name in _TIME_NAMES if name in by_name), []),
        **{name: by_name.get(name, []) for name in PRICE_COLUMNS},
        "volume": _volume_columns(by_name, file.pair),
    }
    if missing := [name for name, candidates in found.items() if not candidates]:
        also = {"timestamp": f"timestamp (or {', '.join(_TIME_NAMES[1:])})"}
        known = {*_KNOWN_EXTRAS, *BAR_COLUMNS}
        riddles = [column for name, group in by_name.items() if name not in known for column in group]
        unclear = f", of which {_listed(riddles)} were not understood" if riddles else ""
        raise DataError(
            f"{file.path} lacks {', '.join(also.get(name, name) for name in missing)}; its columns are "
            f"{_listed([column for group in by_name.values() for column in group])}{unclear}; "
            "rename or add what is missing."
        )
    for name, candidates in found.items():
        if len(candidates) > 1:
            raise DataError(
                f"{file.path} has {len(candidates)} columns that may be {name}, {_listed(candidates, ' and ')}; "
                f"call the right one {name} and rename or remove the others."
            )
    return {name: candidates[0] for name, candidates in found.items()}


def _volume_columns(by_name: _Columns, pair: str) -> list[Any]:
    """The columns that may be the volume in the base currency."""
    by_currency = {
        found[1].upper(): columns
        for name, columns in by_name.items()
        if (found := re.fullmatch(r"volume_(\w+)", name)) and name not in _QUOTE_VOLUMES
    }
    for base, columns in by_currency.items():
        if any(pair.endswith(base + quote) for quote in by_currency if quote != base):
            return columns
    if "volume" in by_name:
        return by_name["volume"]
    if "base_volume" in by_name:
        return by_name["base_volume"]
    # One alone would be a guess, and it may be the quote's; several are named.
    undecided = [column for columns in by_currency.values() for column in columns]
    return undecided if len(undecided) > 1 else []


def _listed(columns: list[Any], mark: str = ", ") -> str:
    more = ", ..." if len(columns) > _LISTED_COLUMNS else ""
    return mark.join(str(column)[:40] for column in columns[:_LISTED_COLUMNS]) + more


def _numbers(column: pd.Series, path: Path) -> pd.Series:
    """The column as float64."""
    try:
        return column.astype("float64")
    except (TypeError, ValueError) as error:
        wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        value = str(wrong.iloc[0] if len(wrong) else column.iloc[0])[:40]
        raise DataError(
            f"{path}: {column.name} is {value!r} in one of its rows, which is not a number; write numbers "
            "with a point before decimals and nothing between thousands, such as 1234.5."
        ) from error


def _moments(column: pd.Series, path: Path, *, beside: list[Any]) -> pd.Series:
    """Times as UTC moments, whether they came as moments, text or an epoch; `beside` are further columns of times."""
    form = "ISO8601"
    try:
        if pd.api.types.is_numeric_dtype(column):
            column = pd.Series(_from_epoch(column), index=column.index)
        if pd.api.types.is_datetime64_any_dtype(column):
            return pd.to_datetime(column, utc=True)
        if column.astype("str").str.endswith(("AM", "PM")).any():
            form = _TWELVE_HOURS
        return pd.to_datetime(column, utc=True, format=form)
    except (ValueError, OverflowError) as error:
        # Day and month of 03/04/2024 cannot be told apart, so local forms are refused and never guessed.
        text = not pd.api.types.is_numeric_dtype(column)
        wrong = column[pd.to_datetime(column, utc=True, format=form, errors="coerce").isna()] if text else column
        value = f"{str(wrong.iloc[0])[:40]!r}" if text and len(wrong) else _reason(error)
        rest = (
            f"; if {_listed(beside, ' and ')} has the rest of it, join them in one column timestamp" if beside else ""
        )
        raise DataError(
            f"{path}: the column {column.name} is neither ISO 8601 nor an epoch ({value}); write the bars' opens in "
            f"UTC like 2024-01-31T13:00Z{rest}."
        ) from error


def _from_epoch(column: pd.Series) -> NDArray[np.datetime64]:
    """Moments [T], datetime64[us], NaT where the number is missing; each value in its own unit."""
    whole = pd.api.types.is_integer_dtype(column) and not column.isna().any()
    values = column.to_numpy(dtype=np.int64) if whole else column.to_numpy(dtype=np.float64, na_value=np.nan)
    size = np.abs(values)
    known = ~np.isnan(values)
    if (size[known] >= _EPOCH_UNITS[-1][0]).any():
        raise ValueError(f"{float(size[known].max()):g} is no time")
    stamps = np.full(len(values), np.datetime64("NaT", "us"))
    smallest = 0.0
    for limit, nanoseconds in _EPOCH_UNITS:
        rows = known & (size >= smallest) & (size < limit)
        part = values[rows] * (nanoseconds // 1000) if nanoseconds >= 1000 else values[rows] // (1000 // nanoseconds)
        stamps[rows] = np.rint(part).astype(np.int64).astype("datetime64[us]")
        smallest = limit
    return stamps
