"""Pruning across folds: a trial below the median of earlier trials of its side on the same folds is given up."""

from collections.abc import Sequence
from statistics import median

from cappuccino_ml.study.results import Pruned, Side, TrialResult


def judge(
    sharpes: Sequence[float], *, side: Side, folds: int, earlier: Sequence[TrialResult], prune_after: int | None
) -> Pruned | None:
    """Whether a trial measured on its first folds goes on (None) or is given up, and on what evidence.

    Within a side, so that no arm's trials can crowd out the other's. DIFF from Optuna's MedianPruner: earlier trials
    that were pruned themselves, but were measured on these folds, count too; without them the median would only rise.

    Args:
        sharpes: annual net Sharpe on the folds so far, in order.
        side: of the trial.
        folds: of the study; after the last one there is nothing to save.
        earlier: trials of completed generations.
        prune_after: earlier trials needed on the same folds, or None: never prune.
    """
    done = len(sharpes)
    if prune_after is None or done >= folds:
        return None
    others = [trial.means[done - 1] for trial in earlier if trial.side == side and len(trial.means) >= done]
    value = sum(sharpes) / done
    if len(others) < prune_after or value >= median(others):
        return None
    return Pruned(fold=done - 1, value=value, median=median(others), against=len(others))
