"""Features of the newest bars, bar by bar: each closed bar is taken in once, and all again if one was revised."""

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.features import FEATURES, RecursiveFeatures

Floats = NDArray[np.float64]
_KEPT_BARS = 64  # a swapped-in model may look further back than the one before, without starting afresh
_SERIES = ("open", "high", "low", "close", "volume")


class FeatureStream:
    """Holds what the recursive features remember and the bars they have seen, so that a revision is noticed."""

    def __init__(self) -> None:
        self._stream: RecursiveFeatures | None = None
        self._timestamps: NDArray[np.datetime64] = np.empty(0, dtype="datetime64[us]")
        self._seen: Floats = np.empty((0, 0, 0))  # [T, 5, N]
        self._newest: Floats = np.empty((0, 0, 0))  # [T, N, 14], rows of the last bars

    def window(self, panel: BarPanel, *, lookback: int) -> Floats:
        """Features [L, N, 14] of the panel's last `lookback` bars.

        Args:
            panel: trailing closed bars, at least the warm-up and `lookback`; those seen before may have been revised.
            lookback: L, bars.

        Raises:
            DataError: a bar that cannot be, or a hole in the grid; the next call starts afresh.
        """
        values = np.stack([getattr(panel, name) for name in _SERIES], axis=1).astype(np.float64)  # a copy
        stream, fresh = self._stream, self._first_new_row(panel, values, lookback)
        self._stream = None  # should taking in fail half-way, nothing of it is used
        if stream is None or fresh is None:
            stream, fresh = RecursiveFeatures(panel.universe), 0
            self._newest = np.empty((0, values.shape[2], len(FEATURES)))
        taken = stream.extend(panel.slice(fresh, len(panel)))
        self._newest = np.concatenate([self._newest, taken])[-max(lookback, _KEPT_BARS) :]
        self._stream, self._timestamps, self._seen = stream, panel.timestamps.copy(), values
        return self._newest[-lookback:].copy()

    def _first_new_row(self, panel: BarPanel, values: Floats, lookback: int) -> int | None:
        """The first row that was not taken in yet; None if the stream cannot simply go on."""
        if self._stream is None or len(self._newest) < lookback or self._seen.shape[2:] != values.shape[2:]:
            return None
        if self._stream.schema.universe != panel.universe:
            return None
        fresh = int(np.searchsorted(panel.timestamps, self._timestamps[-1], side="right"))
        start = int(np.searchsorted(self._timestamps, panel.timestamps[0]))
        before = slice(start, start + fresh)
        same = (
            fresh > 0
            and start + fresh == len(self._timestamps)
            and np.array_equal(self._timestamps[before], panel.timestamps[:fresh])
            and np.array_equal(self._seen[before], values[:fresh])
        )
        return fresh if same else None
