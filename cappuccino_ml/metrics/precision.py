"""How precisely a sample knows its Sharpe ratio: standard error, track record needed, smallest visible difference."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from cappuccino_ml.metrics.returns import Floats, is_flat, require_returns


def _variance_factor(values: Floats) -> tuple[float, float]:
    """Per-bar Sharpe and the variance of its estimate times the number of bars (Mertens 2002)."""
    if is_flat(values):
        return 0.0, 1.0
    score = (values - values.mean()) / values.std()
    sharpe = float(values.mean() / values.std())
    skew, kurtosis = float(np.mean(score**3)), float(np.mean(score**4))
    return sharpe, 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2


def sharpe_standard_error(returns: ArrayLike, bars_per_year: float) -> float:
    """Standard error of the annual Sharpe of independent bars, with skew and kurtosis (Lo 2002, Mertens 2002).

    About 1 / sqrt(years), whatever the bar size. A flat series has the error of a true Sharpe of 0.
    """
    values = require_returns(returns)
    _, factor = _variance_factor(values)
    return math.sqrt(factor / values.size * bars_per_year)


def probabilistic_sharpe(returns: ArrayLike, bars_per_year: float, *, against_sharpe: float = 0.0) -> float:
    """Probability that the true Sharpe is above `against_sharpe` (annual), for independent bars.

    Bailey and Lopez de Prado (2012), with skew and kurtosis. 0.0 for a flat series against anything from zero up.
    """
    values = require_returns(returns)
    sharpe, factor = _variance_factor(values)
    gap = sharpe - against_sharpe / math.sqrt(bars_per_year)
    if is_flat(values) and gap <= 0.0:
        return 0.0
    return NormalDist().cdf(gap * math.sqrt((values.size - 1) / factor))


def minimum_track_record_length(
    returns: ArrayLike, bars_per_year: float, *, against_sharpe: float = 0.0, alpha: float = 0.05
) -> float | None:
    """Bars needed before this Sharpe is above `against_sharpe` (annual) at one-sided level `alpha`.

    Bailey and Lopez de Prado (2012). None if the Sharpe is not above it: no length of such a record would do.
    """
    sharpe, factor = _variance_factor(require_returns(returns))
    gap = sharpe - against_sharpe / math.sqrt(bars_per_year)
    if gap <= 0.0:
        return None
    return 1.0 + factor * (NormalDist().inv_cdf(1.0 - alpha) / gap) ** 2


def minimum_detectable_difference(
    *, bars: int, bars_per_year: float, correlation: float | None, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Smallest true difference of annual Sharpe ratios that a sample shows with probability `power`.

    Jobson and Korkie's variance at small per-bar Sharpe, 2 (1 - correlation) per bar, tested two-sided at `alpha`:
    half a year at correlation 0.9 needs 1.77. A one-sided test at the same level needs about a tenth less.

    Args:
        bars: length of the sample.
        correlation: between the two policies' returns; None against cash, where one Sharpe is tested alone.
    """
    if bars < 1 or not 0.0 < power < 1.0 or not 0.0 < alpha < 1.0:
        raise ValueError(f"bars {bars}, power {power} and alpha {alpha}: bars must be >= 1, the others between 0 and 1")
    if correlation is not None and not -1.0 <= correlation <= 1.0:
        raise ValueError(f"correlation {correlation} is not between -1 and 1")
    variance = 1.0 if correlation is None else 2.0 * (1.0 - correlation)
    normal = NormalDist()
    return (normal.inv_cdf(1.0 - alpha / 2.0) + normal.inv_cdf(power)) * math.sqrt(variance / bars * bars_per_year)
