"""Drift of features against training: the population stability index (PSI), a number per feature.

PSI = sum over bins of (p - q) ln(p / q), p now and q in training. Below 0.1 is called stable and above 0.25 shifted in
credit scoring (Siddiqi 2006), for large and independent samples. A day or a week of hours is neither: rows follow on
each other, so PSI of windows of the same length within the training rows is kept beside it as what is usual.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import DataError, Settings
from cappuccino_ml.features import FeatureSchema

FEATURE_BINS = "feature_bins.json"  # beside the weights of a registered model
BINS = 10
STABLE, SHIFTED = 0.1, 0.25
_FLOOR = 1e-4  # share of an empty bin
_LENGTHS = (24, 48, 168, 720)  # bars of the windows whose PSI is kept
_ABOUT = 2.0  # times longer or shorter: what is usual for a week says nothing of a month
_USUAL = 0.95
Floats = NDArray[np.float64]


class FeatureBins(Settings):
    """Deciles of the training rows per ticker and feature, their shares, and the PSI that training windows have."""

    schema_hash: str
    features: tuple[str, ...]
    rows: int
    edges: tuple[tuple[tuple[float, ...], ...], ...]  # [N][F][BINS - 1]
    shares: tuple[tuple[float, ...], ...]  # [F][BINS], all tickers together
    usual: dict[int, tuple[float, ...]]  # bars -> [F], 95% of such windows are below

    @classmethod
    def fit(cls, features: Floats, *, schema: FeatureSchema) -> "FeatureBins":
        """Bins from training rows [T, N, F], stationary and unscaled.

        Raises:
            DataError: fewer rows than bins, or a value that is not finite.
        """
        if len(features) < BINS or not np.isfinite(features).all():
            raise DataError(f"bins need at least {BINS} finite training rows, got {len(features)}; see the splits.")
        cuts = np.quantile(features, np.arange(1, BINS) / BINS, axis=0)  # [BINS - 1, N, F]
        edges = np.moveaxis(cuts, 0, -1)
        counts = _counts(_binned(features, edges))  # [F, BINS]
        shares = counts / counts.sum(-1, keepdims=True)
        binned, usual = _binned(features, edges), {}
        for length in _LENGTHS:
            starts = range(0, len(features) - length + 1, length)
            if len(starts) >= 20:  # fewer windows have no 95th percentile to speak of
                found = [_psi(_counts(binned[start : start + length]), shares) for start in starts]
                usual[length] = tuple(np.quantile(found, _USUAL, axis=0).tolist())
        return cls(
            schema_hash=schema.hash,
            features=schema.features,
            rows=len(features),
            edges=edges.tolist(),
            shares=shares.tolist(),
            usual=usual,
        )


class Drift(Settings):
    """One feature, all tickers together."""

    feature: str
    psi: float
    usual: float | None  # 95% of training windows of about this length are below; None: too few of them
    word: Literal["stable", "moderate", "shifted"]  # by the thresholds 0.1 and 0.25


def drift(features: Floats, bins: FeatureBins) -> tuple[Drift, ...]:
    """PSI of each feature over rows [K, N, F], beside what training windows of about that length have."""
    psi = _psi(_counts(_binned(features, np.asarray(bins.edges))), np.asarray(bins.shares))
    times = {max(length, len(features)) / min(length, len(features)): length for length in bins.usual}
    nearest = min(times, default=_ABOUT + 1)
    usual = bins.usual[times[nearest]] if nearest <= _ABOUT else (None,) * len(psi)
    return tuple(
        Drift(
            feature=name,
            psi=float(value),
            usual=beside,
            word="stable" if value < STABLE else "moderate" if value < SHIFTED else "shifted",
        )
        for name, value, beside in zip(bins.features, psi, usual, strict=True)
    )


def _binned(features: Floats, edges: Floats) -> NDArray[np.int8]:
    """Bin of each value, [T, N, F]."""
    return np.asarray((features[..., None] > edges).sum(-1), dtype=np.int8)


def _counts(binned: NDArray[np.int8]) -> Floats:
    """Values per bin, tickers together -> [F, BINS]."""
    return np.stack([(binned == index).sum((0, 1)) for index in range(BINS)], axis=-1).astype(np.float64)


def _psi(counts: Floats, shares: Floats) -> Floats:
    now = np.maximum(counts / counts.sum(-1, keepdims=True), _FLOOR)
    then = np.maximum(shares, _FLOOR)
    return np.asarray(((now - then) * np.log(now / then)).sum(-1))
