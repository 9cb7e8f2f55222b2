"""The stationary transform: prices and volumes become ratios to their own past; the network's inputs before scaling."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import DataError
from cappuccino_ml.features.indicators import quotient, raw_indicators, trailing_mean
from cappuccino_ml.features.schema import FEATURES

PRICE_REFERENCE_BARS = 24
VOLUME_REFERENCE_BARS = 168
VOLUME_FLOOR = 0.01  # volumes below 1% of their mean, zero included, count as 1%: log(0.01) = -4.6
CONTEXT_BARS = 1000  # a window this long gives the full history's value at its last row to 1e-8

Floats = NDArray[np.float64]


def stationary(raw: Floats, panel: BarPanel) -> Floats:
    """Make raw indicators stationary, with bars <= t only.

    open, high, low and close become log(price / mean of the last 24 closes); volume becomes log(volume / mean of the
    last 168 volumes), at least log(0.01). The other nine are scale-free already and stay as they are.

    Args:
        raw: [T, N, 14] from `raw_indicators(panel)`.
        panel: the same bars.

    Returns:
        float64 [T, N, 14]; finite from row `WARM_UP_BARS` on, NaN where something has not seen enough bars.

    Raises:
        DataError: `raw` is not of the panel's shape.
    """
    shape = (*panel.close.shape, len(FEATURES))
    if raw.shape != shape:
        raise DataError(f"raw indicators have shape {raw.shape}, not {shape}; compute them from the same bars.")
    return relative_to_means(
        raw,
        bars=(panel.open, panel.high, panel.low, panel.close, panel.volume),
        mean_close=trailing_mean(panel.close, bars=PRICE_REFERENCE_BARS),
        mean_volume=trailing_mean(panel.volume, bars=VOLUME_REFERENCE_BARS),
    )


def relative_to_means(raw: Floats, *, bars: Sequence[Floats], mean_close: Floats, mean_volume: Floats) -> Floats:
    """A copy of `raw` [..., N, 14] with its first five columns relative to the trailing means [..., N].

    `bars`: open, high, low, close and volume, each [..., N].
    """
    result = np.array(raw, dtype=np.float64)
    log_reference = np.log(mean_close)
    for column, price in enumerate(bars[:4]):
        result[..., column] = np.log(price) - log_reference
    # where nothing was traded for a week the ratio has no value; it is the floor, like any other zero volume
    ratio = quotient(bars[4], mean_volume)
    result[..., FEATURES.index("volume")] = np.log(np.maximum(ratio, VOLUME_FLOOR))
    return result


def latest_features(panel: BarPanel) -> Floats:
    """Stationary features [T, N, 14]; one call for the whole history and, live, for its last `CONTEXT_BARS` bars."""
    return stationary(raw_indicators(panel), panel)
