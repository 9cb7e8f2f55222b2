"""The score of a group of runs, and the difference of two: over seeds, and of the agents side by side over time.

An interval over seeds says how much the luck of training matters, and nothing about the luck of the rows measured on,
which all seeds share; the interval over time does (a block bootstrap of the agents side by side).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import mean_interval
from cappuccino_ml.study import ArmRun, VariantRun
from cappuccino_ml.verdict.bootstrap import NotTestableError, paired_sharpe_test

Interval = tuple[float, float]


class Difference(Settings):
    """Annual net Sharpe of one group of runs less another's, run k of both paired."""

    name: str
    mean: float
    over_seeds: Interval | None  # 95%, of the mean difference
    side_by_side: float | None  # the same of equal parts of all agents, which diversify; None: not testable
    over_time: Interval | None  # 95%, of that
    sentence: str


class Score(Settings):
    """What a group of runs came to, net of costs."""

    sharpes: tuple[float, ...]  # annual, one per run
    mean: float
    over_seeds: Interval | None  # 95%, of the mean; None with one run
    turnover_per_day: float
    max_drawdown: float  # the worst run's
    parameters: int


def score_of(runs: Sequence[ArmRun] | Sequence[VariantRun]) -> Score:
    """The score of finished runs; all of one agent's settings."""
    sharpes = tuple(run.sharpe for run in runs)
    return Score(
        sharpes=sharpes,
        mean=float(np.mean(sharpes)),
        over_seeds=mean_interval(sharpes),
        turnover_per_day=float(np.mean([run.turnover_per_day for run in runs])),
        max_drawdown=max(run.max_drawdown for run in runs),
        parameters=runs[0].parameters,
    )


def paired_difference(
    *,
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    our_returns: NDArray[np.float64],
    their_returns: NDArray[np.float64],
    bars_per_year: float,
    seed: int,
    resamples: int,
) -> Difference:
    """Ours less theirs.

    Args:
        name: of the difference.
        ours: annual net Sharpe of each run; run k of `theirs` shares its market and seed.
        theirs: as many.
        our_returns: net return per bar of equal parts of our agents [T].
        their_returns: of theirs, on the same bars.
        bars_per_year: of the timeframe.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    by_run = np.subtract(ours, theirs)
    over_seeds = mean_interval(by_run)
    together: float | None = None
    over_time: Interval | None = None
    note = ""
    try:
        test = paired_sharpe_test(
            candidate=our_returns,
            incumbent=their_returns,
            bars_per_year=bars_per_year,
            seed=seed,
            resamples=resamples,
        )
        together, over_time = test.difference, test.interval
    except NotTestableError as error:
        note = f" Over time: {error}."
    sentence = f"{name}: {by_run.mean():+.2f} Sharpe a year{_range(over_seeds, 'over seeds')}"
    if together is not None:
        sentence += f"; all agents side by side {together:+.2f}{_range(over_time, 'over time')}"
    return Difference(
        name=name,
        mean=float(by_run.mean()),
        over_seeds=over_seeds,
        side_by_side=together,
        over_time=over_time,
        sentence=f"{sentence}.{note}",
    )


def _range(interval: Interval | None, what: str) -> str:
    return "" if interval is None else f" (95% {interval[0]:+.2f} to {interval[1]:+.2f} {what})"
