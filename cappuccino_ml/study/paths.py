"""What every completed trial earned bar by bar on the development folds, put together into one path a trial."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import LakeError, is_done
from cappuccino_ml.study.fitting import read_bars
from cappuccino_ml.study.runner import StudyResult
from cappuccino_ml.study.splits import Fold

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrialPaths:
    """K completed trials on the T test rows of all folds, in order of time. Each fold starts with a fresh book."""

    numbers: tuple[int, ...]  # K trial numbers
    fold_bars: tuple[int, ...]  # test rows of each fold; they sum to T
    returns: Floats  # [T, K], net simple return of equity
    turnover: Floats  # [T, K], share of equity
    exposure: Floats  # [T, K], share of equity invested after the bar


def read_paths(folder: Path, *, study: StudyResult, folds: tuple[Fold, ...]) -> TrialPaths:
    """Read what the trials of `study` stored in its `folder`.

    Raises:
        LakeError: a completed trial's bars are missing or are not those of its folds.
    """
    fold_bars = tuple(fold.test[1] - fold.test[0] for fold in folds)
    names = ("net_return", "turnover", "exposure")
    columns: dict[str, list[Floats]] = {name: [] for name in names}
    for trial in study.completed:
        parts = []
        for key, bars in zip(trial.fold_jobs, fold_bars, strict=True):
            place = folder / "trials" / key
            if not is_done(place):
                raise LakeError(
                    f"{place}, a fold of trial {trial.number}, is not finished; materialize optuna_study again."
                )
            part = read_bars(place)
            if len(part) != bars or not set(names) <= set(part.columns):
                raise LakeError(
                    f"{place} holds {len(part)} bars with columns {', '.join(part.columns)}, not the {bars} of its "
                    "fold; delete the study's folder and materialize optuna_study again."
                )
            parts.append(part)
        for name in names:
            columns[name].append(np.concatenate([part[name].to_numpy(dtype=np.float64) for part in parts]))
    empty = np.empty((sum(fold_bars), 0))
    returns, turnover, exposure = (np.column_stack(columns[name]) if columns[name] else empty for name in names)
    return TrialPaths(
        numbers=tuple(trial.number for trial in study.completed),
        fold_bars=fold_bars,
        returns=returns,
        turnover=turnover,
        exposure=exposure,
    )
