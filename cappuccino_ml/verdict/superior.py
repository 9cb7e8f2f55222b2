"""Which trials of a study beat equal weight, when all of them were tried: the stepwise test StepM.

Romano and Wolf (2005), "Stepwise multiple testing as formalized data snooping", Econometrica 73(4), with the recentring
of Hansen (2005), "A test for superior predictive ability". The chance that even one trial without skill is named is at
most `alpha`, however many were tried and however dependent they are.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import Settings
from cappuccino_ml.verdict.bootstrap import choose_block, required_bars

Floats = NDArray[np.float64]

_CHUNK_VALUES = 2_000_000  # block sums gathered at once: 16 MB
_FLAT = 1e-12  # active returns whose range is below this never vary


class SuperiorSet(Settings):
    """The trials with active returns above zero at family-wise level `alpha`. Tuples run along `trials`."""

    trials: tuple[int, ...]  # numbers of all completed trials
    statistics: tuple[float, ...]  # mean active return over its standard error
    p_values: tuple[float, ...]  # adjusted for the number of trials
    superior: tuple[int, ...]  # trial numbers with a p-value of at most `alpha`
    alpha: float
    bars: int
    block: int
    resamples: int
    obstacle: str | None = None  # why nothing could be tested; then nothing is superior

    def p_value(self, trial: int) -> float:
        """Of one trial.

        Raises:
            ValueError: the trial was not among those tested.
        """
        if trial not in self.trials:
            raise ValueError(f"trial {trial} is not among the {len(self.trials)} tested; pass one of {self.trials}")
        return self.p_values[self.trials.index(trial)]


def superior_set(
    *,
    active: NDArray[np.floating],
    trials: tuple[int, ...],
    seed: int,
    alpha: float = 0.05,
    min_block: int = 24,
    resamples: int = 4999,
) -> SuperiorSet:
    """StepM over all completed trials of a study, on its development folds.

    Each trial's mean is divided by its bootstrap standard error, so a timid trial counts as much as a bold one. Too few
    bars are an answer (`obstacle`, no superior trial), not an error; a trial that equals its benchmark has p-value 1.

    Args:
        active: [T, K], returns per bar above the benchmark, one column per trial.
        trials: K numbers that name the columns.
        seed: of the resampling; the same seed gives the same result.
        alpha: family-wise level.
        min_block: circular blocks have max(min_block, optimal length) bars.

    Raises:
        ValueError: shapes do not match or a value is not finite.
    """
    values = np.asarray(active, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(trials) or not values.size:
        raise ValueError(f"active returns of shape {values.shape} for {len(trials)} trials; pass [bars, trials]")
    if not np.isfinite(values).all():
        raise ValueError(f"active returns hold {int((~np.isfinite(values)).sum())} values that are not finite")
    bars = len(values)
    moving = np.ptp(values, axis=0) > _FLAT
    statistics, p_values = np.zeros(len(trials)), np.ones(len(trials))
    block, obstacle = min_block, None
    if bars < required_bars(min_block):
        obstacle = f"{bars} development bars are fewer than {required_bars(min_block)}"
    elif not moving.any():
        obstacle = "no trial ever differs from equal weight"
    else:
        live = values[:, moving]
        block = choose_block(live, min_block=min_block)
        starts = np.random.default_rng(seed).integers(0, bars, size=(resamples, bars // block))
        means = resampled_means(live, starts, block)
        statistics[moving], p_values[moving] = step_down(live.mean(axis=0), means, bars=bars)
    return SuperiorSet(
        trials=trials,
        statistics=tuple(float(value) for value in statistics),
        p_values=tuple(float(value) for value in p_values),
        superior=tuple(trial for trial, p in zip(trials, p_values, strict=True) if p <= alpha),
        alpha=alpha,
        bars=bars,
        block=block,
        resamples=resamples,
        obstacle=obstacle,
    )


def step_down(mean: Floats, means: Floats, *, bars: int) -> tuple[Floats, Floats]:
    """Studentised statistics [K] and their adjusted p-values [K] (Romano and Wolf 2016, algorithm 4.2).

    Trials are taken from the best downwards; each is compared with the largest of the resampled statistics of itself
    and those after it. A p-value of at most alpha is exactly a place in StepM's superior set.

    Args:
        mean: of the active returns [K].
        means: of the resamples [R, K].
        bars: of the sample, for Hansen's bound.
    """
    spread = means.std(axis=0)
    statistic = mean / spread
    # A trial this far below zero cannot be at its null's edge: it is not recentred, so it takes no power from others.
    hopeless = statistic < -math.sqrt(2 * math.log(math.log(bars)))
    centred = (means - np.where(hopeless, 0.0, mean)) / spread
    order = np.argsort(-statistic, kind="stable")
    largest = np.maximum.accumulate(centred[:, order[::-1]], axis=1)[:, ::-1]  # [R, K], of each and all after it
    raw = ((largest >= statistic[order]).sum(axis=0) + 1) / (len(means) + 1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.maximum.accumulate(raw)
    return statistic, adjusted


def resampled_means(values: Floats, starts: NDArray[np.int64], block: int) -> Floats:
    """Means [R, K] of resamples of `values` [T, K] that are made of circular blocks from `starts` [R, L]."""
    bars, columns = values.shape
    centre = values.mean(axis=0)
    around = np.concatenate([values, values[: block - 1]]) - centre
    running = np.concatenate([np.zeros((1, columns)), np.cumsum(around, axis=0)])
    sums = running[block:] - running[:bars]  # [T, K], of the block that starts at each bar
    blocks = starts.shape[1]
    totals = np.empty((len(starts), columns))
    rows = max(1, _CHUNK_VALUES // (blocks * columns))
    for low in range(0, len(starts), rows):
        totals[low : low + rows] = sums[starts[low : low + rows]].sum(axis=1)
    return np.asarray(totals / (blocks * block) + centre)
