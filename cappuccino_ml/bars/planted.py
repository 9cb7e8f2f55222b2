"""The planted effect's yardsticks: an oracle and a filter that sees bars only, for evidence and tests.

The filter is Hamilton's (1989, Econometrica 57, section 4) forward recursion for two states. Its observation is the
mean over tickers of log-volume less its trailing mean: it knows nothing about a symbol's level, beta or volatility.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.simulated import REGIME_HOURS

Floats = NDArray[np.float64]

TRAILING_BARS = 168
_SHIFT = 0.48  # mean of the observation in state +1; below the leak, because the trailing mean absorbs part of it
_SPREAD = 0.5  # its standard deviation within a state, wide: what the trailing mean absorbed persists


def volume_surprise(panel: BarPanel) -> Floats:
    """Mean over tickers of log-volume less its mean over the 168 bars before -> [T]; NaN where nothing is known."""
    logs = np.full(panel.volume.shape, np.nan)
    np.log(panel.volume, out=logs, where=~panel.is_filled & (panel.volume > 0))
    known = np.isfinite(logs)
    total = np.cumsum(np.where(known, logs, 0.0), axis=0)
    count = np.cumsum(known, axis=0)
    before = np.pad(total, ((1, 0), (0, 0)))
    counted = np.pad(count, ((1, 0), (0, 0)))
    stop = np.arange(len(logs))
    begin = np.maximum(stop - TRAILING_BARS, 0)
    held = counted[stop] - counted[begin]
    trailing = (before[stop] - before[begin]) / np.maximum(held, 1)
    use = known & (held >= TRAILING_BARS // 4)
    surprise = np.where(use, logs - trailing, 0.0).sum(axis=1) / np.maximum(use.sum(axis=1), 1)
    return np.where(use.any(axis=1), surprise, np.nan)


def regime_probability(panel: BarPanel) -> Floats:
    """P(state +1 at bar t | bars <= t) -> [T], by the forward filter. One half while nothing is known."""
    switch = 1 / REGIME_HOURS
    probability, path = 0.5, []
    for seen in volume_surprise(panel).tolist():
        probability = probability * (1 - switch) + (1 - probability) * switch
        if np.isfinite(seen):
            odds = probability / (1 - probability) * np.exp(2 * _SHIFT * seen / _SPREAD**2)
            probability = float(odds / (1 + odds))
        path.append(probability)
    return np.asarray(path)


def long_or_cash(is_long: NDArray[np.bool_], *, max_step: float = 0.1) -> Callable[[int, NDArray[np.float32]], Floats]:
    """A policy for `environment.backtest`: equal weights in all tickers while `is_long[t]`, else all in cash."""

    def act(t: int, entries: NDArray[np.float32]) -> Floats:
        weights = entries[1:].astype(np.float64)
        if not is_long[t]:
            return np.full(len(weights), -1.0)
        return np.clip((1 / len(weights) - weights) / max_step, -1.0, 1.0)

    return act
