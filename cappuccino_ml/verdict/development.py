"""All completed trials on the development folds: which beat equal weight at matched exposure, and how much was luck."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.environment import Backtest
from cappuccino_ml.study import TrialPaths

Floats = NDArray[np.float64]


def active_returns(paths: TrialPaths, equal_weight: Sequence[Backtest]) -> Floats:
    """Net returns [T, K] of the trials above equal weight's, scaled to as much of equity as the trial had invested.

    Matched by fold and on the mean: each fold's agent is another one, and being out of the market at the right bars is
    skill, being out of it on the whole is not.

    Args:
        paths: of the completed trials.
        equal_weight: its backtests on the same folds, at the same costs.

    Raises:
        ValueError: the backtests do not cover the folds.
    """
    bars = tuple(len(run.returns) for run in equal_weight)
    if bars != paths.fold_bars:
        raise ValueError(f"equal weight covers folds of {bars} bars, the trials {paths.fold_bars}; pass the same folds")
    active = np.empty_like(paths.returns)
    first = 0
    for run in equal_weight:
        rows = slice(first, first + len(run.returns))
        invested = float(run.weights.sum(-1).mean())
        matched = paths.exposure[rows].mean(axis=0) / invested if invested > 0 else np.zeros(len(paths.numbers))
        active[rows] = paths.returns[rows] - run.returns[:, None] * matched
        first = rows.stop
    return active
