"""Bars from a folder of Parquet, Feather or CSV files: plain ones, freqtrade's, Binance's, CryptoDataDownload's."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.bars.aggregate import BUILT_TIMEFRAMES, HOURLY, BuiltFromHours
from cappuccino_ml.bars.file_formats import read_bar_file
from cappuccino_ml.bars.file_names import BarFile, bar_files, listed_files
from cappuccino_ml.bars.grid import bar_step, hour_text, off_grid
from cappuccino_ml.bars.schema import BAR_COLUMNS, empty_bars, tidy_bars, times, to_datetime, to_datetime64
from cappuccino_ml.bars.source import BarSource
from cappuccino_ml.bars.universe import TIMEFRAMES, Universe
from cappuccino_ml.core import ConfigurationError, DataError, digest

_STEADY = 24  # so many equal steps in a row are bars of another length; outages leave uneven ones


class FilesSource:
    """Bars of the files in `folder`. A file's name tells its symbol, in any case:

    - plain: `BTC-USDT.parquet`, `BTCUSDT.csv`, `BTC_USDT.csv`, also with a timeframe: `BTC-USDT-5m.parquet`;
    - freqtrade: `BTC_USDT-1h.feather` (futures do not count);
    - Binance's archive: `BTCUSDT-1h-2024-01.csv`, `BTCUSDT-1h-2024-01-15.csv`. All parts of a symbol are joined; where
      two have the same bar, the file whose name sorts later wins, which puts a month's file above those of its days;
    - CryptoDataDownload: `Binance_BTCUSDT_1h.csv`, `Kraken_BTCUSD_d.csv`, `Bitstamp_BTCUSD_2021_minute.csv`.

    A file whose name says another timeframe than the universe's does not count. What may be in a file: `read_bar_file`.
    Bars come as the files have them; see `files_source` for 4h and 1d bars built from 1h ones.

    Args:
        folder: where the files lie.
        symbols: the only ones whose files count in `identity`; other files in the folder are then not even opened.
        timeframe: the only one whose files count in `identity`; all if not given.
        label: what people read on pages made from these bars; `files (<folder name>)` if not given.

    Raises:
        ConfigurationError: the folder does not exist.
    """

    name = "files"

    def __init__(
        self,
        folder: Path,
        *,
        symbols: Sequence[str] | None = None,
        timeframe: str | None = None,
        label: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ConfigurationError(
                f"the bars folder {self.folder} does not exist; name a folder with one Parquet or CSV file per symbol."
            )
        self._symbols = symbols
        self._bar = None if timeframe is None else TIMEFRAMES[timeframe]
        self._label = label or f"files ({self.folder.resolve().name})"
        self._read: dict[Path, tuple[tuple[int, int], _Part]] = {}

    @property
    def label(self) -> str:
        """What people read on pages made from these bars."""
        return self._label

    def identity(self) -> dict[str, Any]:
        """The hash of each series' first bar: it survives a move of the folder and bars appended later.

        Appended may be rows of a file or further files, and the files of a month's days may give way to the month's.
        """
        if self._symbols is None:
            files = [file for file in bar_files(self.folder) if self._bar in (None, file.bar) or file.bar is None]
        else:
            files = [file for symbol in self._symbols for file in self._files(symbol, self._bar)]
        files = sorted(files, key=lambda file: (file.series, file.path))
        groups = itertools.groupby(files, key=lambda file: file.series)
        return {"name": self.name, "files": {series: self._first_bar(list(group)) for series, group in groups}}

    def coverage(self, universe: Universe) -> tuple[datetime, datetime]:
        """From the first bar of any of the universe's files to the end of the last."""
        stamps = [part.stamps for symbol in universe.symbols for part in self._parts(symbol, universe)]
        first, last = min(held[0] for held in stamps), max(held[-1] for held in stamps)
        return to_datetime(first), to_datetime(last) + universe.bar

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        """The files' bars that open in [start, end).

        Raises:
            DataError: there is no file for `symbol` or more than one market's, or they do not hold bars of this
                timeframe.
        """
        pieces = []
        for part in self._parts(symbol, universe):
            first, stop = np.searchsorted(part.stamps, [to_datetime64(start), to_datetime64(end)])
            if first < stop:
                pieces.append(part.bars.iloc[first:stop])
        if len(pieces) > 1:
            return tidy_bars(pd.concat(pieces), symbol=symbol)
        return pieces[0].reset_index(drop=True) if pieces else empty_bars(BAR_COLUMNS)

    def holds(self, universe: Universe) -> bool:
        """Whether every symbol has files with bars of the universe's length that open on the UTC grid.

        Raises:
            DataError: there are files of several markets for a symbol, or one cannot be read.
        """
        return self.has_files(universe) and all(
            _misfit(file.path, self._part(file), universe) is None
            for symbol in universe.symbols
            for file in self._files(symbol, universe.bar)
        )

    def has_files(self, universe: Universe) -> bool:
        """Whether every symbol has files whose names do not speak against bars of the universe's length."""
        files = bar_files(self.folder)
        return all(any(file.may_hold(symbol, universe.bar) for file in files) for symbol in universe.symbols)

    def _files(self, symbol: str, bar: timedelta | None) -> list[BarFile]:
        """The files for `symbol`, sorted by name: one, or all parts of one series; any series if `bar` is None."""
        files = bar_files(self.folder)
        found = [file for file in files if file.may_hold(symbol, bar)]
        if not found:
            raise DataError(self._absence(symbol, bar, files))
        rivals = {file.series: file.path.name for file in reversed(found)}
        if bar is not None and len(rivals) > 1:
            raise DataError(f"{self.folder} holds {' and '.join(sorted(rivals.values()))} for {symbol}; keep one.")
        return found

    def _absence(self, symbol: str, bar: timedelta | None, files: list[BarFile]) -> str:
        length = next((f" with {name} bars" for name, length in TIMEFRAMES.items() if length == bar), "")
        held = listed_files(files) or "no Parquet or CSV file, nor a Feather one"
        other = next((file for file in files if file.may_hold(symbol)), None)
        hint = (
            "supply it, or set CAPPUCCINO_TICKERS to the tickers you have"
            if other is None
            else "set the timeframe their names tell (CAPPUCCINO_TIMEFRAME), or supply these bars"
        )
        return (
            f"{self.folder} has no file for {symbol}{length}, such as {symbol}.parquet or "
            f"{symbol.replace('-', '')}.csv; it holds {held}; {hint}."
        )

    def _parts(self, symbol: str, universe: Universe) -> "list[_Part]":
        parts = []
        for file in self._files(symbol, universe.bar):
            part = self._part(file)
            if wrong := _misfit(file.path, part, universe):
                raise DataError(wrong)
            parts.append(part)
        return parts

    def _part(self, file: BarFile) -> "_Part":
        """The file's bars, parsed once for each state of the file."""
        status = file.path.stat()
        state = (status.st_mtime_ns, status.st_size)
        if file.path not in self._read or self._read[file.path][0] != state:
            self._read[file.path] = (state, _Part.of(read_bar_file(file)))
        return self._read[file.path][1]

    def _first_bar(self, files: list[BarFile]) -> str:
        # Of files that begin with the same bar the last one counts, as in `fetch`.
        bar = min((self._part(file) for file in reversed(files)), key=lambda part: part.stamps[0]).bars.iloc[0]
        return digest([bar["timestamp"].isoformat(), *(float(bar[name]) for name in BAR_COLUMNS[1:])])


def files_source(folder: Path, universe: Universe, *, label: str | None = None) -> BarSource:
    """The source for a folder and a universe: its files as they are, or 4h and 1d bars built from its 1h ones.

    4h and 1d bars are taken as they are only if the files of all symbols have them, opening on the UTC grid.

    Raises:
        ConfigurationError: the folder does not exist.
        DataError: for 4h and 1d, when a file cannot be read or there are files of several markets for a symbol.
    """
    native, hourly = (
        FilesSource(folder, symbols=universe.symbols, timeframe=timeframe, label=label)
        for timeframe in (universe.timeframe, HOURLY)
    )
    if universe.timeframe not in BUILT_TIMEFRAMES or native.holds(universe):
        return native
    # Without files for hours the long bars' own fault is worth hearing, not that hours are missing.
    has_hours = hourly.has_files(universe.model_copy(update={"timeframe": HOURLY}))
    return native if native.has_files(universe) and not has_hours else BuiltFromHours(hourly)


@dataclass(frozen=True)
class _Part:
    """One parsed file."""

    bars: pd.DataFrame
    stamps: NDArray[np.datetime64]  # [T], datetime64[us]
    grid_us: int  # the longest step from 1970-01-01T00Z on which all bars open
    step: np.timedelta64 | None  # the shortest between two bars

    @classmethod
    def of(cls, bars: pd.DataFrame) -> "_Part":
        stamps = times(bars)
        grid_us = int(np.gcd.reduce(stamps.astype(np.int64)))
        return cls(bars=bars, stamps=stamps, grid_us=grid_us, step=np.diff(stamps).min() if len(stamps) > 1 else None)


def _misfit(path: Path, part: _Part, universe: Universe) -> str | None:
    """Why these are not bars of the universe's timeframe, if they are not."""
    step = bar_step(universe)
    if part.grid_us % int(step.astype(np.int64)):
        first = hour_text(part.stamps[int(off_grid(part.stamps, universe).argmax())])
        return (
            f"{path}: the bar at {first} is off the {universe.timeframe} grid; "
            "set the timeframe these bars have (CAPPUCCINO_TIMEFRAME), or supply bars that open on that grid in UTC."
        )
    if part.step is not None and part.step > step:
        return (
            f"{path} holds bars {int(part.step / np.timedelta64(1, 'm'))} minutes apart, not {universe.timeframe} "
            "ones; set the timeframe these bars have (CAPPUCCINO_TIMEFRAME; 4h and 1d bars must open at multiples of "
            "it from 00:00 UTC), and have all files of one length."
        )
    if (start := _other_length(part.stamps, step)) is not None:
        between = int((part.stamps[start + 1] - part.stamps[start]) / np.timedelta64(1, "m"))
        return (
            f"{path} mixes lengths: from {hour_text(part.stamps[start])} at least {_STEADY} bars in a row are "
            f"{between} minutes apart, not {universe.timeframe}; supply {universe.timeframe} bars there, or keep the "
            "rows before them only, or those after them."
        )
    return None


def _other_length(stamps: NDArray[np.datetime64], step: np.timedelta64) -> int | None:
    """The first row of a stretch of bars longer than `step`, which filling would cover up; None if there is none."""
    steps = np.diff(stamps)
    changes = np.flatnonzero(np.concatenate(([True], steps[1:] != steps[:-1]))) if len(steps) else np.array([], int)
    lengths = np.diff(np.append(changes, len(steps)))
    found = changes[(lengths >= _STEADY) & (steps[changes] > step)]
    return int(found[0]) if len(found) else None
