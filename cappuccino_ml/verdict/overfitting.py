"""How much of the best trial's record is the luck of having tried many: deflated Sharpe ratio and PBO.

Reported beside the verdict, never clauses of it: both punish a study in which everything works.
"""

import math
from functools import cache
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import annual_sharpe, probabilistic_sharpe

Floats = NDArray[np.float64]

CSCV_BLOCKS = 16
_EULER_GAMMA = 0.5772156649015329
_FLAT_SHARE = 1e-12  # a variance this share of the mean square is rounding


class Selection(Settings):
    """CSCV: what picking the best of a study's trials on half of the bars was worth on the other half."""

    pbo: float  # share of partitions whose winner came out in the lower half, ties at the middle included
    loss_share: float  # share of partitions whose winner had a Sharpe below zero out of sample
    blocks: int
    partitions: int


class Overfitting(Settings):
    """The candidate's record on the development folds in the light of how many were tried. Sharpes are annual."""

    trials: int  # completed in this study
    trials_counted: int  # over all studies on the same data; the deflation uses this number
    best_sharpe: float
    expected_best_sharpe: float  # of so many trials without skill, as spread out as these
    deflated_sharpe: float  # confidence that the true Sharpe is above `expected_best_sharpe`
    selection: Selection | None  # None with one trial, or with fewer than two bars a block


def overfitting(
    *, returns: Floats, candidate: int, bars_per_year: float, trials_counted: int, blocks: int = CSCV_BLOCKS
) -> Overfitting:
    """Both measures for column `candidate` of `returns` [T, K], the net returns of all completed trials.

    Raises:
        ValueError: fewer trials are counted than there are columns, or a value is not finite.
    """
    bars, trials = returns.shape
    if trials_counted < trials:
        raise ValueError(f"{trials_counted} trials counted for {trials} columns; count at least those of this study")
    if not np.isfinite(returns).all():
        raise ValueError(f"the trials' returns hold {int((~np.isfinite(returns)).sum())} values that are not finite")
    sharpes = [annual_sharpe(column, bars_per_year) for column in returns.T]
    spread = float(np.std(sharpes, ddof=1)) if trials > 1 else 0.0
    luck = expected_best_sharpe(spread=spread, trials=trials_counted)
    testable = trials > 1 and bars >= 2 * blocks
    return Overfitting(
        trials=trials,
        trials_counted=trials_counted,
        best_sharpe=sharpes[candidate],
        expected_best_sharpe=luck,
        deflated_sharpe=probabilistic_sharpe(returns[:, candidate], bars_per_year, against_sharpe=luck),
        selection=cscv(returns, blocks=blocks) if testable else None,
    )


def expected_best_sharpe(*, spread: float, trials: int) -> float:
    """Expected largest of `trials` independent Sharpe ratios of mean zero and standard deviation `spread`.

    Bailey and Lopez de Prado (2014), "The deflated Sharpe ratio", equation 1.
    """
    if trials < 1 or not spread >= 0.0:
        raise ValueError(f"trials {trials} must be at least 1 and spread {spread} at least 0")
    if trials == 1:
        return 0.0
    normal = NormalDist()
    return spread * (
        (1.0 - _EULER_GAMMA) * normal.inv_cdf(1.0 - 1.0 / trials)
        + _EULER_GAMMA * normal.inv_cdf(1.0 - 1.0 / (trials * math.e))
    )


def cscv(returns: ArrayLike, *, blocks: int = CSCV_BLOCKS) -> Selection:
    """Combinatorially symmetric cross-validation of the trials' returns [T, K] by Sharpe ratio.

    Bailey, Borwein, Lopez de Prado and Zhu (2017), "The probability of backtest overfitting", section 3. Ties share
    their mean rank; a trial that is flat on one side has a Sharpe of zero there.

    Raises:
        ValueError: `blocks` is odd, or there are fewer than two trials or two bars a block.
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2 or len(values) < 2 * blocks or blocks % 2 or blocks < 2:
        raise ValueError(
            f"returns of shape {values.shape} in {blocks} blocks; pass at least two trials, "
            "an even number of blocks and two bars a block"
        )
    bars, trials = values.shape
    lengths = np.array([len(part) for part in np.array_split(np.arange(bars), blocks)])
    edges = np.cumsum(lengths) - lengths
    sums = np.add.reduceat(values, edges, axis=0)
    squares = np.add.reduceat(values**2, edges, axis=0)
    inside = _halves(blocks)
    inner = _sharpes(inside, sums, squares, lengths)  # [partitions, K]
    outer = _sharpes(1.0 - inside, sums, squares, lengths)
    winner = inner.argmax(axis=1)[:, None]
    won = np.take_along_axis(outer, winner, axis=1)  # [partitions, 1]
    rank = (outer < won).sum(axis=1) + ((outer == won).sum(axis=1) + 1) / 2  # 1 is the worst
    return Selection(
        pbo=float(np.mean(rank / (trials + 1) <= 0.5)),
        loss_share=float(np.mean(won < 0.0)),
        blocks=blocks,
        partitions=len(inside),
    )


@cache
def _halves(blocks: int) -> Floats:
    """Every choice of half of the blocks, 1 where chosen: [partitions, blocks]."""
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    inside = np.zeros((len(chosen), blocks))
    np.put_along_axis(inside, chosen, 1.0, axis=1)
    return inside


def _sharpes(inside: Floats, sums: Floats, squares: Floats, lengths: NDArray[np.int64]) -> Floats:
    bars = (inside @ lengths)[:, None]
    mean, raw = inside @ sums / bars, inside @ squares / bars
    variance = raw - mean**2
    flat = variance <= _FLAT_SHARE * raw
    return np.where(flat, 0.0, mean / np.sqrt(np.where(flat, 1.0, variance)))
