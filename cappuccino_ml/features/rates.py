"""How much of each feature is missing and how much lies far out: for people, who then look at the bars."""

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.features.schema import FEATURES

Floats = NDArray[np.float64]

_OUTLIER_SPREADS = 10.0


def missing_rates(features: Floats) -> dict[str, float]:
    """Share of values [T, N, F] that are not finite, by feature, the warm-up included; 1 without rows."""
    share = (~np.isfinite(features)).mean(axis=(0, 1)) if len(features) else np.ones(len(FEATURES))
    return dict(zip(FEATURES, share.tolist(), strict=True))


def outlier_rates(features: Floats) -> dict[str, float]:
    """Share of the finite values [T, N, F] beyond 10 spreads from their ticker's median, by feature.

    The spread is the interquartile range over 1.349, as of a normal distribution, or the standard deviation where the
    range is 0, as for breakouts, which are 0 on most bars.
    """
    finite_values = np.isfinite(features).sum(axis=(0, 1))
    outliers = np.zeros(len(FEATURES))
    for ticker, feature in np.ndindex(features.shape[1:]):
        values = features[:, ticker, feature]
        values = values[np.isfinite(values)]
        if len(values):
            low, median, high = np.percentile(values, [25, 50, 75])
            spread = (high - low) / 1.349 if high > low else values.std()
            outliers[feature] += (np.abs(values - median) > _OUTLIER_SPREADS * spread).sum()
    return dict(zip(FEATURES, (outliers / np.maximum(1, finite_values)).tolist(), strict=True))
