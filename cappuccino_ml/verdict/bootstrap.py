"""Is a Sharpe ratio above another's, or above zero? The studentised circular block bootstrap of Ledoit and Wolf (2008).

"Robust performance hypothesis testing with the Sharpe ratio", J. Empirical Finance 15, sections 3.1 and 3.2. The data's
own standard error is a kernel (HAC) one, the resamples' is the variance of their blocks, as in the paper.
"""

import math

import numpy as np
from arch.bootstrap import optimal_block_length
from numpy.typing import ArrayLike, NDArray

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import is_flat, require_returns

Floats = NDArray[np.float64]

MIN_BLOCKS = 10  # fewer blocks than this cannot be told apart from luck
_CHUNK_VALUES = 2_000_000  # block sums gathered at once: 16 MB
_SAME = 1e-9  # standard deviation of the difference below this is rounding
_DEGENERATE = 1e-12  # a resample whose variance is this share of the sample's is flat


class NotTestableError(ValueError):
    """These returns say nothing about a Sharpe ratio, whatever the method: too short, flat, or the same."""


class SharpeTest(Settings):
    """A difference of annual Sharpe ratios (or, against cash, one annual Sharpe) and how sure it is."""

    difference: float
    standard_error: float
    p_value: float  # two-sided
    lower: float  # one-sided bound at 1 - alpha
    upper: float  # one-sided bound at 1 - alpha
    interval: tuple[float, float]  # two-sided, symmetric, at 1 - alpha
    alpha: float
    candidate_sharpe: float
    incumbent_sharpe: float
    bars: int
    block: int
    resamples: int


def paired_sharpe_test(
    *,
    candidate: ArrayLike,
    incumbent: ArrayLike,
    bars_per_year: float,
    seed: int,
    alpha: float = 0.05,
    min_block: int = 24,
    resamples: int = 4999,
) -> SharpeTest:
    """Test the difference candidate minus incumbent on synchronous bars; the sign matters, never its size alone.

    Args:
        candidate: simple net returns per bar [T]; `incumbent` has the same bars.
        seed: of the resampling; the same seed gives the same result.
        min_block: blocks have max(min_block, optimal length for the circular bootstrap) bars.

    Raises:
        NotTestableError: a side is flat, both are the same, or too few bars vary. Against cash use `sharpe_interval`.
        ValueError: lengths differ or a value is not finite.
    """
    ours = require_returns(candidate, what="the candidate's returns")
    theirs = require_returns(incumbent, what="the incumbent's returns")
    if ours.size != theirs.size:
        raise ValueError(f"the candidate has {ours.size} bars and the incumbent {theirs.size}; pass synchronous bars")
    series = np.column_stack([ours, theirs])
    return _test(series, bars_per_year=bars_per_year, seed=seed, alpha=alpha, min_block=min_block, resamples=resamples)


def sharpe_interval(
    returns: ArrayLike,
    *,
    bars_per_year: float,
    seed: int,
    alpha: float = 0.05,
    min_block: int = 24,
    resamples: int = 4999,
) -> SharpeTest:
    """Test one Sharpe ratio against cash, which earns nothing: `difference` is the Sharpe itself."""
    series = require_returns(returns)[:, None]
    return _test(series, bars_per_year=bars_per_year, seed=seed, alpha=alpha, min_block=min_block, resamples=resamples)


def required_bars(min_block: int) -> int:
    """Fewest bars a test accepts."""
    return MIN_BLOCKS * min_block


def sharpe_and_gradient(moments: Floats) -> tuple[Floats, Floats]:
    """Per-bar difference of Sharpe ratios [...] and its gradient [..., 2K] in the moments.

    Args:
        moments: [..., 2K], K means followed by K raw second moments; K = 1, or K = 2 for first minus second.
    """
    half = moments.shape[-1] // 2
    sign = np.array([1.0, -1.0])[:half]
    mean, raw = moments[..., :half], moments[..., half:]
    variance = raw - mean**2
    cube = variance**1.5
    gradient = np.concatenate([sign * raw / cube, -0.5 * sign * mean / cube], axis=-1)
    return (sign * mean / np.sqrt(variance)).sum(-1), gradient


def hac_variance(influence: Floats) -> float:
    """Long-run variance of a centred series [T]: Parzen kernel, Andrews' (1991) bandwidth from a fitted AR(1)."""
    bars = influence.size
    lagged = float(influence[:-1] @ influence[:-1])
    rho = min(0.97, max(-0.97, float(influence[1:] @ influence[:-1]) / lagged)) if lagged > 0 else 0.0
    bandwidth = min(2.6614 * (4 * rho**2 / (1 - rho) ** 4 * bars) ** 0.2, bars - 1)
    variance = float(influence @ influence)
    for lag in range(1, math.floor(bandwidth) + 1):
        variance += 2 * parzen(lag / bandwidth) * float(influence[lag:] @ influence[:-lag])
    return variance / bars


def parzen(x: float) -> float:
    """The Parzen kernel on [0, 1]; it keeps the variance from falling below zero."""
    return 1 - 6 * x**2 + 6 * x**3 if x <= 0.5 else 2 * (1 - x) ** 3


def resample_statistics(series: Floats, starts: NDArray[np.int64], block: int) -> tuple[Floats, Floats]:
    """Differences and standard errors (per bar) of resamples made of circular blocks.

    Args:
        series: returns [T, K].
        starts: first bar of each block, [R, L]; a resample has L * block bars.

    Returns:
        Two arrays [R]; both are NaN where a side of the resample never varies.
    """
    bars = len(series)
    terms = np.concatenate([series, series**2], axis=1)  # [T, 2K]
    around = np.concatenate(
        [np.zeros((1, terms.shape[1])), np.cumsum(np.concatenate([terms, terms[: block - 1]]), axis=0)]
    )
    sums = around[block:] - around[:-block]  # [T, 2K], the block that starts at each bar
    floor = _DEGENERATE * series.var(axis=0)
    blocks = starts.shape[1]
    difference, error = np.empty(len(starts)), np.empty(len(starts))
    rows = max(1, _CHUNK_VALUES // (blocks * terms.shape[1]))
    assert sums.shape[0] == bars
    for low in range(0, len(starts), rows):
        drawn = sums[starts[low : low + rows]]  # [r, L, 2K]
        moments = drawn.mean(axis=1) / block
        half = series.shape[1]
        flat = (moments[:, half:] - moments[:, :half] ** 2 <= floor).any(axis=1)
        moments[flat] = np.nan
        value, gradient = sharpe_and_gradient(moments)
        # One number per block: the gradient times the block's centred sum; their mean square is the variance.
        projected = np.einsum("rlk,rk->rl", drawn, gradient) - block * np.einsum("rk,rk->r", moments, gradient)[:, None]
        difference[low : low + rows] = value
        error[low : low + rows] = np.sqrt((projected**2).mean(axis=1) / block / (blocks * block))
    return difference, error


def choose_block(series: Floats, *, min_block: int) -> int:
    """max(min_block, Patton, Politis and White's length over the columns [T, K]), at most a tenth of the bars."""
    best = float(optimal_block_length(series)["circular"].max())
    return min(max(min_block, math.ceil(best)), len(series) // MIN_BLOCKS)


def _test(
    series: Floats, *, bars_per_year: float, seed: int, alpha: float, min_block: int, resamples: int
) -> SharpeTest:
    bars, sides = series.shape
    if bars < required_bars(min_block):
        raise NotTestableError(f"{bars} bars are fewer than {MIN_BLOCKS} blocks of {min_block}; lengthen the holdout")
    for side, name in zip(range(sides), ("candidate", "incumbent"), strict=False):
        if is_flat(series[:, side]):
            raise NotTestableError(f"the {name} never trades, so its Sharpe cannot be tested; name it cash or drop it")
    moments = np.concatenate([series.mean(axis=0), (series**2).mean(axis=0)])
    difference, gradient = sharpe_and_gradient(moments)
    influence = (np.concatenate([series, series**2], axis=1) - moments) @ gradient
    if influence.std() < _SAME:
        raise NotTestableError(
            "candidate and incumbent move as one, so their difference is zero; nothing is to be tested"
        )
    # DIFF: the paper estimates the whole covariance matrix and then projects it on the gradient; projecting first gives
    # the same quadratic form and lets the bandwidth follow the one series that matters. bars - 2K is its correction.
    error = math.sqrt(hac_variance(influence) / (bars - 2 * sides))
    block = choose_block(np.column_stack([series, influence]), min_block=min_block)
    starts = np.random.default_rng(seed).integers(0, bars, size=(resamples, bars // block))
    resampled, resampled_error = resample_statistics(series, starts, block)
    usable = np.isfinite(resampled) & (resampled_error > 0)
    if not usable.all():
        flat = resamples - int(usable.sum())
        raise NotTestableError(
            f"{flat} of {resamples} resamples never vary: too few of {bars} bars do; lengthen the holdout"
        )
    student = (resampled - difference) / resampled_error
    size = np.abs(student)
    scale = math.sqrt(bars_per_year)
    centre, spread = float(difference) * scale, error * scale
    reach = float(np.quantile(size, 1 - alpha)) * spread
    sharpes = series.mean(axis=0) / series.std(axis=0) * scale
    return SharpeTest(
        difference=centre,
        standard_error=spread,
        p_value=float((np.sum(size >= abs(difference) / error) + 1) / (resamples + 1)),
        lower=centre - float(np.quantile(student, 1 - alpha)) * spread,
        upper=centre - float(np.quantile(student, alpha)) * spread,
        interval=(centre - reach, centre + reach),
        alpha=alpha,
        candidate_sharpe=float(sharpes[0]),
        incumbent_sharpe=float(sharpes[1]) if sides > 1 else 0.0,
        bars=bars,
        block=block,
        resamples=resamples,
    )
