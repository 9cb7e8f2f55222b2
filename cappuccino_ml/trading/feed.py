"""The bar feed port: the trailing bars a decision may see, closed ones only."""

from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.features import CONTEXT_BARS


class BarFeed(Protocol):
    """Gives bars on the canonical grid, oldest first."""

    def panel(self, now: datetime) -> BarPanel:
        """At most `CONTEXT_BARS` trailing bars as known at `now`. The engine itself cuts off a bar that still forms."""
        ...


class PanelFeed:
    """A feed out of stored bars: history for a replay, or a lake that is updated before each tick."""

    def __init__(self, panel: BarPanel) -> None:
        self._panel = panel

    def panel(self, now: datetime) -> BarPanel:
        """The last `CONTEXT_BARS` bars that are closed at `now`."""
        stop = closed_rows(self._panel, now)
        return self._panel.slice(max(0, stop - CONTEXT_BARS), stop)


def closed_rows(panel: BarPanel, now: datetime) -> int:
    """How many rows of `panel` are closed at `now`: a bar closes one bar length after its timestamp."""
    moment = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
    ends = panel.timestamps + np.timedelta64(panel.universe.bar)
    return int(np.searchsorted(ends, moment, side="right"))


def close_time(panel: BarPanel, row: int) -> datetime:
    """When row `row` closes, UTC."""
    opened: datetime = panel.timestamps[row].astype("datetime64[us]").item()
    return opened.replace(tzinfo=UTC) + panel.universe.bar
