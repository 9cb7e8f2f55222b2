"""Bars from a folder that holds one Parquet or CSV file per symbol."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from cappuccino_ml.bars.grid import bar_step, hour_text, off_grid
from cappuccino_ml.bars.schema import BAR_COLUMNS, tidy_bars, times, to_datetime, to_datetime64
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ConfigurationError, DataError, digest

_TIME_NAMES = ("timestamp", "time", "date", "datetime", "open_time")
_SUFFIXES = (".parquet", ".csv")
# An epoch below the limit is in that unit: in seconds 1e11 is the year 5138, in milliseconds 1973.
_EPOCH_UNITS: tuple[tuple[float, Literal["s", "ms", "us", "ns"]], ...] = (
    (1e11, "s"),
    (1e14, "ms"),
    (1e17, "us"),
    (np.inf, "ns"),
)


class FilesSource:
    """Bars of `folder`, one file per symbol: `BTC-USDT.parquet`, `BTCUSDT.csv`, `BTC_USDT.csv`, in any case.

    A file has the columns timestamp (or time, date, datetime, open_time), open, high, low, close and volume, in any
    case and order. Times are the bars' opens: ISO 8601, UTC unless the text says otherwise, or an epoch in s, ms, us
    or ns.

    Args:
        folder: where the files lie.
        symbols: the only ones whose files count; other files in the folder are then not even opened.
        label: what people read on pages made from these bars; `files (<folder name>)` if not given.

    Raises:
        ConfigurationError: the folder does not exist.
    """

    name = "files"

    def __init__(self, folder: Path, *, symbols: Sequence[str] | None = None, label: str | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ConfigurationError(
                f"the bars folder {self.folder} does not exist; name a folder with one Parquet or CSV file per symbol."
            )
        self._symbols = symbols
        self._label = label or f"files ({self.folder.resolve().name})"
        self._read: dict[Path, tuple[tuple[int, int], pd.DataFrame]] = {}

    @property
    def label(self) -> str:
        """What people read on pages made from these bars."""
        return self._label

    def identity(self) -> dict[str, Any]:
        """Each file's name and the hash of its first bar: it survives a move of the folder and bars appended later."""
        return {"name": self.name, "files": {path.name: digest(self._first_bar(path)) for path in self._own_files()}}

    def coverage(self, universe: Universe) -> tuple[datetime, datetime]:
        """From the first bar of any of the universe's files to the end of the last."""
        stamps = [times(self._bars(symbol, universe)) for symbol in universe.symbols]
        first, last = min(held[0] for held in stamps), max(held[-1] for held in stamps)
        return to_datetime(first), to_datetime(last) + universe.bar

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        """The file's bars that open in [start, end).

        Raises:
            DataError: there is no file for `symbol` or more than one, or it does not hold bars of this timeframe.
        """
        bars = self._bars(symbol, universe)
        stamps = times(bars)
        first, stop = np.searchsorted(stamps, [to_datetime64(start), to_datetime64(end)])
        return bars.iloc[first:stop].reset_index(drop=True)

    def _own_files(self) -> list[Path]:
        return self._files() if self._symbols is None else sorted(self._path(symbol) for symbol in self._symbols)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.suffix.lower() in _SUFFIXES)

    def _path(self, symbol: str) -> Path:
        wanted = symbol.replace("-", "").upper()
        files = self._files()
        found = [path for path in files if path.stem.replace("-", "").replace("_", "").upper() == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{self.folder} holds {' and '.join(path.name for path in found)} for {symbol}; keep one.")
        held = ", ".join(path.name for path in files[:12]) or "no Parquet or CSV file"
        raise DataError(
            f"{self.folder} has no file for {symbol}, such as {symbol}.parquet or {symbol.replace('-', '')}.csv; "
            f"it holds {held}{', ...' if len(files) > 12 else ''}."
        )

    def _bars(self, symbol: str, universe: Universe) -> pd.DataFrame:
        path = self._path(symbol)
        bars = self._load(path)
        stamps = times(bars)
        steps = np.diff(stamps)
        if (wrong := off_grid(stamps, universe)).any():
            raise DataError(
                f"{path}: the bar at {hour_text(stamps[int(wrong.argmax())])} is off the {universe.timeframe} grid; "
                "set the timeframe these bars have, or supply bars that open on that grid in UTC."
            )
        if len(steps) and (steps.min() > bar_step(universe)):
            raise DataError(
                f"{path} holds bars {int(steps.min() / np.timedelta64(1, 'm'))} minutes apart, "
                f"not {universe.timeframe} ones; set the timeframe these bars have."
            )
        return bars

    def _load(self, path: Path) -> pd.DataFrame:
        state = (path.stat().st_mtime_ns, path.stat().st_size)
        if path not in self._read or self._read[path][0] != state:
            self._read[path] = (state, _read_bars(path))
        return self._read[path][1]

    def _first_bar(self, path: Path) -> list[Any]:
        bar = self._load(path).iloc[0]
        return [bar["timestamp"].isoformat(), *(float(bar[name]) for name in BAR_COLUMNS[1:])]


def _read_bars(path: Path) -> pd.DataFrame:
    try:
        raw = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError, ArrowException) as error:
        raise DataError(f"{path} cannot be read as {path.suffix[1:].upper()} ({error}); replace the file.") from error
    if raw.index.name is not None:
        raw = raw.reset_index()
    by_name = {str(column).strip().lower().replace(" ", "_"): column for column in raw.columns}
    time_name = next((name for name in _TIME_NAMES if name in by_name), None)
    missing = [name for name in BAR_COLUMNS[1:] if name not in by_name]
    if time_name is None:
        missing.insert(0, f"timestamp (or {', '.join(_TIME_NAMES[1:])})")
    if missing or time_name is None:
        held = ", ".join(map(str, raw.columns))
        raise DataError(f"{path} lacks {', '.join(missing)}; its columns are {held}; rename or add what is missing.")
    if raw.empty:
        raise DataError(f"{path} holds no rows; replace or remove the file.")
    frame = pd.DataFrame({name: raw[by_name[name]] for name in BAR_COLUMNS[1:]})
    frame.insert(0, "timestamp", _moments(raw[by_name[time_name]], path))
    return tidy_bars(frame, symbol=path.name)


def _moments(column: pd.Series, path: Path) -> pd.Series:
    """Times as UTC moments, whether they came as moments, text or an epoch."""
    try:
        if pd.api.types.is_numeric_dtype(column):
            largest = float(column.abs().max())
            unit = next(unit for limit, unit in _EPOCH_UNITS if largest < limit)
            return pd.to_datetime(column, unit=unit, utc=True)
        if pd.api.types.is_datetime64_any_dtype(column):
            return pd.to_datetime(column, utc=True)
        return pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, StopIteration) as error:
        raise DataError(f"{path}: the column {column.name} is neither ISO 8601 nor an epoch ({error}).") from error
