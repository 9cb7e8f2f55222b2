"""Long bars from short ones: 4h and 1d bars that open at multiples of their length from 00:00 UTC."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from cappuccino_ml.bars.grid import bar_step
from cappuccino_ml.bars.schema import BAR_COLUMNS, TIMESTAMP, empty_bars, tidy_bars, times
from cappuccino_ml.bars.source import BarSource
from cappuccino_ml.bars.universe import FILL_CAP, TIMEFRAMES, Universe
from cappuccino_ml.core import DataError

HOURLY = "1h"
BUILT_TIMEFRAMES = ("4h", "1d")  # where a vendor's own days may begin at another hour than 00:00 UTC
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def aggregate(bars: pd.DataFrame, universe: Universe, *, needed: int = 1) -> pd.DataFrame:
    """Bars of one symbol as bars of the universe's length.

    A long bar has the first open, the highest high, the lowest low, the last close and the summed volume of the bars
    that open within it. One of which some are missing is built from the others; one that has fewer than `needed` is
    absent. Whether the last one is complete is not known here.

    Args:
        bars: columns timestamp, open, high, low, close, volume; sorted by time, each time once.
        universe: its timeframe is the length of the long bars, a multiple of the short ones'.
        needed: short bars that a long one must have.

    Returns:
        The same columns, timestamps are the long bars' opens.
    """
    if bars.empty:
        return empty_bars(BAR_COLUMNS)
    stamps, step = times(bars), bar_step(universe)
    opens = stamps - (stamps - np.datetime64(0, "us")) % step
    firsts = np.flatnonzero(np.concatenate(([True], opens[1:] != opens[:-1])))
    lasts = np.concatenate((firsts[1:], [len(bars)])) - 1
    enough = lasts - firsts + 1 >= needed
    values = {name: bars[name].to_numpy(dtype=np.float64) for name in BAR_COLUMNS[1:]}
    made = pd.DataFrame(
        {
            "timestamp": pd.Series(opens[firsts]).dt.tz_localize("UTC").astype(TIMESTAMP),
            "open": values["open"][firsts],
            "high": np.maximum.reduceat(values["high"], firsts),
            "low": np.minimum.reduceat(values["low"], firsts),
            "close": values["close"][lasts],
            "volume": np.add.reduceat(values["volume"], firsts),
        }
    )
    return made[enough].reset_index(drop=True)


class BuiltFromHours:
    """4h and 1d bars of a source that is asked for its 1h bars only. It is meant for these two timeframes.

    A long bar may lack as many hours as may be filled at 1h (`FILL_CAP`, 6): a day needs 18 of its hours, 4h need one.
    One that lacks more is absent, so that the audit sees the hole instead of a bar that looks like any other.

    Other timeframes pass through unchanged, but `identity`, which is not told the timeframe, says `built_from` always.

    Args:
        source: where the 1h bars come from.
    """

    def __init__(self, source: BarSource) -> None:
        self.source = source

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    @property
    def label(self) -> str:
        """The source's."""
        return self.source.label

    def identity(self) -> dict[str, Any]:
        """The source's, and that these bars are built from its hours: its own long bars are others."""
        return {**self.source.identity(), "built_from": HOURLY}

    def coverage(self, universe: Universe) -> tuple[datetime, datetime | None]:
        """The whole long bars inside what the source has in hours.

        Raises:
            DataError: it has less than one.
        """
        if universe.timeframe not in BUILT_TIMEFRAMES:
            return self.source.coverage(universe)
        first, end = self.source.coverage(_hours(universe))
        start, stop = _next_open(first, universe), None if end is None else _last_open(end, universe)
        if end is not None and stop is not None and start >= stop:
            raise DataError(
                f"the {HOURLY} bars from {first:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ} hold no whole "
                f"{universe.timeframe} bar; supply more of them or set the timeframe to {HOURLY}."
            )
        return start, stop

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        """Long bars that lie wholly inside [start, end): one that is still forming at `end` never comes out.

        Raises:
            DataError, SourceError, ConfigurationError: what the source raises for its 1h bars.
        """
        if universe.timeframe not in BUILT_TIMEFRAMES:
            return self.source.fetch(symbol=symbol, universe=universe, start=start, end=end)
        first, stop = _next_open(start, universe), _last_open(end, universe)
        if first >= stop:
            return empty_bars(BAR_COLUMNS)
        hours = tidy_bars(
            self.source.fetch(symbol=symbol, universe=_hours(universe), start=first, end=stop), symbol=symbol
        )
        # A source may send more than was asked for; those hours would make a bar that is not whole.
        inside = (hours["timestamp"] >= pd.Timestamp(first)) & (hours["timestamp"] < pd.Timestamp(stop))
        return aggregate(hours[inside], universe, needed=max(1, (universe.bar - FILL_CAP) // TIMEFRAMES[HOURLY]))


def _hours(universe: Universe) -> Universe:
    return universe.model_copy(update={"timeframe": HOURLY})


def _last_open(moment: datetime, universe: Universe) -> datetime:
    """The grid's last time at or before `moment`."""
    return moment - (moment - _EPOCH) % universe.bar


def _next_open(moment: datetime, universe: Universe) -> datetime:
    """The grid's first time at or after `moment`."""
    rest: timedelta = (_EPOCH - moment) % universe.bar
    return moment + rest
