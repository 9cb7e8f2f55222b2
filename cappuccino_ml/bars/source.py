"""The port every origin of bars implements; one adapter per vendor, in a file named after it."""

from datetime import datetime
from typing import Any, Protocol

import pandas as pd

from cappuccino_ml.bars.universe import Universe


class BarSource(Protocol):
    """Where bars come from."""

    @property
    def name(self) -> str:
        """Short name used in configuration, such as `simulated`."""

    @property
    def label(self) -> str:
        """What people read on every page and report made from these bars."""

    def identity(self) -> dict[str, Any]:
        """JSON types that tell these bars from others; kept in the lake's manifest."""

    def coverage(self, universe: Universe) -> tuple[datetime, datetime | None]:
        """First bar open and end (exclusive), UTC, of what can be asked for; None where new bars keep coming."""

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        """Bars of `symbol` whose open time lies in [start, end): columns timestamp, open, high, low, close, volume.

        Sorted by time, each time once. Hours that were not traded are absent; a range without bars is an empty frame.
        Whole or not at all: a bar is absent only where the source said so, never because an answer was broken or cut.

        Raises:
            DataError: the source has no such symbol or no longer serves this range, or what it holds is not bars.
            SourceError: it could not be reached, refused, or answered with something that is not bars.
            ConfigurationError: the source cannot serve this timeframe.
        """
