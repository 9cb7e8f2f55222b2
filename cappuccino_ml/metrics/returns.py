"""Pure functions over per-bar simple net returns of equity: Sharpe, growth, drawdown, exposure, turnover.

NaN and infinities are refused with a ValueError, never skipped: a missing bar is a fault of the caller, and a mean over
"the bars that worked" is how a bad policy looks good. Cash earns nothing, so returns are excess returns as they stand.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Two returns closer than this are the same return: equity of 1e5 is kept to about 1e-11 of a share.
_FLAT_RANGE = 1e-12
_DAYS_PER_YEAR = 365.0


def require_returns(returns: ArrayLike, *, what: str = "returns") -> Floats:
    """`returns` as float64 [K].

    Raises:
        ValueError: not one-dimensional, empty, not finite, or below -1 (more than everything lost).
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{what} have shape {values.shape}; pass one simple return per bar, shape [K] with K >= 1")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"{what} hold {bad.size} values that are not finite, the first at bar {bad[0]}; repair, do not drop"
        )
    if values.min() < -1.0:
        raise ValueError(
            f"{what} fall to {values.min():.4g} at bar {values.argmin()}; a simple return is never below -1"
        )
    return values


def is_flat(returns: ArrayLike) -> bool:
    """Whether the returns never vary, as those of a policy that never trades."""
    return bool(np.ptp(require_returns(returns)) <= _FLAT_RANGE)


def annual_sharpe(returns: ArrayLike, bars_per_year: float) -> float:
    """Mean over population standard deviation, times sqrt(bars per year); Sharpe (1994) with cash at zero.

    A flat series scores 0.0: a policy that never trades is as good as cash, not unknown. The deviation is the
    population's, so a sample repeated any number of times keeps its score.
    """
    values = require_returns(returns)
    if is_flat(values):
        return 0.0
    return float(values.mean() / values.std() * math.sqrt(bars_per_year))


def total_return(returns: ArrayLike) -> float:
    """Compounded return over the whole sample, as a share of the first equity."""
    return float(np.prod(1.0 + require_returns(returns)) - 1.0)


def annual_return(returns: ArrayLike, bars_per_year: float) -> float:
    """Compounded growth per year, as a share.

    Raises:
        ValueError: the sample is so short that its growth per year is not a number.
    """
    values = require_returns(returns)
    growth = 1.0 + total_return(values)
    if growth <= 0.0:
        return -1.0
    try:
        return math.expm1(math.log(growth) * bars_per_year / values.size)
    except OverflowError as error:
        raise ValueError(
            f"{values.size} bars that grew by {growth - 1:.4g} cannot be annualised; pass a longer sample"
        ) from error


def annual_volatility(returns: ArrayLike, bars_per_year: float) -> float:
    """Population standard deviation of the returns, times sqrt(bars per year)."""
    return float(require_returns(returns).std() * math.sqrt(bars_per_year))


def max_drawdown(returns: ArrayLike) -> float:
    """Largest loss from a peak of equity, as a share of that peak, in [0, 1]; the starting equity is a peak too."""
    equity = np.concatenate([[1.0], np.cumprod(1.0 + require_returns(returns))])
    return float(np.max(1.0 - equity / np.maximum.accumulate(equity)))


def _paired(returns: ArrayLike, benchmark: ArrayLike) -> tuple[Floats, Floats]:
    ours, theirs = require_returns(returns), require_returns(benchmark, what="benchmark returns")
    if ours.size != theirs.size:
        raise ValueError(f"{ours.size} returns against {theirs.size} of the benchmark; pass synchronous bars")
    return ours, theirs


def alpha_beta(returns: ArrayLike, benchmark: ArrayLike, bars_per_year: float) -> tuple[float, float]:
    """Least-squares intercept, times bars per year, and slope on the benchmark; beta is 0.0 if that is flat."""
    ours, theirs = _paired(returns, benchmark)
    beta = 0.0 if is_flat(theirs) else float(np.mean((ours - ours.mean()) * (theirs - theirs.mean())) / theirs.var())
    return float((ours.mean() - beta * theirs.mean()) * bars_per_year), beta


def correlation(returns: ArrayLike, benchmark: ArrayLike) -> float:
    """Pearson correlation of synchronous returns; 0.0 if either side is flat."""
    ours, theirs = _paired(returns, benchmark)
    if is_flat(ours) or is_flat(theirs):
        return 0.0
    covariance = float(np.mean((ours - ours.mean()) * (theirs - theirs.mean())))
    return min(1.0, max(-1.0, covariance / float(ours.std() * theirs.std())))


def information_ratio(returns: ArrayLike, benchmark: ArrayLike, bars_per_year: float) -> float:
    """Annual Sharpe of the active returns (ours minus the benchmark's); 0.0 if they never differ."""
    ours, theirs = _paired(returns, benchmark)
    active = ours - theirs
    return 0.0 if np.ptp(active) <= _FLAT_RANGE else float(active.mean() / active.std() * math.sqrt(bars_per_year))


def exposure(weights: ArrayLike) -> float:
    """Mean share of equity invested. `weights` are [K, N] after marking."""
    return float(_finite(weights, dimensions=2, what="weights").sum(axis=1).mean())


def turnover_per_day(turnover: ArrayLike, bars_per_year: float) -> float:
    """Mean traded notional per day over equity, buys and sells both counted. `turnover` is [K], per bar."""
    return float(_finite(turnover, dimensions=1, what="turnover").mean() * bars_per_year / _DAYS_PER_YEAR)


def saturated_share(actions: ArrayLike, limit: float = 0.99) -> Floats:
    """Share of each bar's actions [K, N] at the edge of [-1, 1] -> [K]; near 1 is "all or nothing"."""
    return np.asarray(np.mean(np.abs(_finite(actions, dimensions=2, what="actions")) >= limit, axis=1))


def _finite(values: ArrayLike, *, dimensions: int, what: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{what} of shape {array.shape} must be finite, non-empty and have {dimensions} dimensions")
    return array


def mean_over_folds(scores: Sequence[float], *, folds: int) -> float:
    """Mean score of all `folds` folds; a flat fold counts as the 0.0 it scored.

    Raises:
        ValueError: a fold is missing or its score is not finite. A failed fold fails the trial; it is never left out.
    """
    if folds < 1 or len(scores) != folds:
        raise ValueError(f"{len(scores)} scores for {folds} folds; every fold has a score or the trial has failed")
    for fold, score in enumerate(scores):
        if not math.isfinite(score):
            raise ValueError(
                f"fold {fold} of {folds} scored {score}; the trial has failed, a fold is never left out of the mean"
            )
    return math.fsum(scores) / folds
