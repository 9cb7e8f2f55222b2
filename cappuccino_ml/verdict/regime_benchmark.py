"""Finished policies and the baselines by market regime: on the folds, and on a holdout that has been read already.

Nothing is trained and no holdout is read here. On the folds it is the best trials' own fold agents that count: the
finalists were refitted on all development rows and have seen them. Even these were chosen by their mean over the same
folds, which flatters them there; the holdout chose nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.core import Settings, derive_seed
from cappuccino_ml.study import Dataset, StudyResult, TrialResult, read_bars
from cappuccino_ml.verdict.baselines import run_baselines
from cappuccino_ml.verdict.regimes import RegimeRule, RegimeScore, label_regimes, score_regimes

Floats = NDArray[np.float64]


class RegimeRow(Settings):
    """One policy in every regime of one span."""

    policy: str
    baseline: bool
    scores: tuple[RegimeScore, ...]


class RegimeSpan(Settings):
    """All policies on one span of rows."""

    name: str  # "folds" or "holdout"
    bars: int
    shares: dict[str, float]  # regime -> share of the bars
    rows: tuple[RegimeRow, ...]


class RegimeBenchmark(Settings):
    """Policies by regime, and the rule that made the regimes."""

    label: str
    study_key: str
    rule: RegimeRule
    spans: tuple[RegimeSpan, ...]
    said: str  # what is not there, and why; empty if nothing is missing

    @property
    def shows(self) -> str:
        """What the numbers can be used for."""
        return (
            "The best trials were chosen by their mean over the same folds, which flatters ft and mlp there; the "
            "holdout chose nothing. Few stretches are few independent looks, however many bars they hold."
        )


@dataclass(frozen=True)
class _Earned:
    returns: Floats  # [K], net simple return per bar
    turnover: Floats  # [K], share of equity


def regime_benchmark(
    *,
    dataset: Dataset,
    study: StudyResult,
    study_folder: Path,
    holdout: pd.DataFrame | None,
    rule: RegimeRule,
    seed: int,
    resamples: int = 1999,
) -> RegimeBenchmark:
    """Score the best trial of each side and the baselines in every regime.

    Args:
        dataset: the frozen data the study used.
        study: its result.
        study_folder: where its trials lie.
        holdout: what the stored first reading of this study's holdout holds; None if nobody has read it.
        rule: what bull, bear and sideways are.
        seed: of the bootstrap and the random policy.
        resamples: of the bootstrap.
    """
    per_year = dataset.config.bars_per_year
    labels = label_regimes(dataset.market.close, rule=rule, bars_per_year=per_year)
    folds = [fold.test for fold in dataset.splits.folds]
    breaks = np.cumsum([last - first for first, last in folds])[:-1].tolist()

    def span(name: str, rows: Sequence[tuple[int, int]], earned: Mapping[str, _Earned], cuts: list[int]) -> RegimeSpan:
        regimes = np.concatenate([labels[first:last] for first, last in rows])
        policies = tuple(
            RegimeRow(
                policy=policy,
                baseline=policy not in ("ft", "mlp", "champion"),
                scores=score_regimes(
                    one.returns,
                    regimes,
                    bars_per_year=per_year,
                    seed=derive_seed(seed, "regimes", name, policy),
                    turnover=one.turnover,
                    breaks=tuple(cuts),
                    resamples=resamples,
                ),
            )
            for policy, one in earned.items()
        )
        shares = {str(score.regime): score.bars / len(regimes) for score in policies[0].scores}
        return RegimeSpan(name=name, bars=len(regimes), shares=shares, rows=policies)

    spans = [span("folds", folds, _on_folds(dataset, study, study_folder, seed=seed), breaks)]
    said = "The holdout of this study has not been read; validation_report reads it, once."
    if holdout is not None:
        said = ""
        spans.append(span("holdout", [dataset.splits.holdout], _on_holdout(holdout), []))
    return RegimeBenchmark(label=dataset.config.label, study_key=study.key, rule=rule, spans=tuple(spans), said=said)


def _on_folds(dataset: Dataset, study: StudyResult, folder: Path, *, seed: int) -> dict[str, _Earned]:
    sides = {"ft": study.best("ft"), "mlp": study.best("mlp")}
    parts: dict[str, list[_Earned]] = {}
    for index in range(len(dataset.splits.folds)):
        stored = {side: read_bars(folder / "trials" / trial.fold_jobs[index]) for side, trial in sides.items()}
        for side, bars in stored.items():
            parts.setdefault(side, []).append(
                _Earned(returns=bars["net_return"].to_numpy(float), turnover=bars["turnover"].to_numpy(float))
            )
        busiest = max(float(bars["turnover"].mean()) for bars in stored.values())
        for policy, earned in _baselines(dataset, sides["ft"], index, turnover=busiest, seed=seed).items():
            parts.setdefault(policy, []).append(earned)
    return {
        policy: _Earned(
            returns=np.concatenate([part.returns for part in found]),
            turnover=np.concatenate([part.turnover for part in found]),
        )
        for policy, found in parts.items()
    }


def _baselines(dataset: Dataset, trial: TrialResult, index: int, *, turnover: float, seed: int) -> dict[str, _Earned]:
    """The baselines on one fold's test rows, on the trial's guards and costs."""
    market, fold = dataset.market, dataset.splits.folds[index]
    runs = run_baselines(
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=fold.test[0],
        last=fold.test[1],
        guards=trial.training.guards,
        costs=trial.training.costs,
        train_rows=fold.train,
        turnover_per_bar=turnover,
        seed=derive_seed(seed, "fold", index),
        features=market.features,
    )
    return {policy: _Earned(returns=run.returns, turnover=run.turnover) for policy, run in runs.items()}


def _on_holdout(frame: pd.DataFrame) -> dict[str, _Earned]:
    """The policies as judged: columns with a mark are stresses and quantities."""
    names = [str(column) for column in frame if not set("@#") & set(str(column))]
    return {
        name: _Earned(returns=frame[name].to_numpy(float), turnover=frame[f"{name}#turnover"].to_numpy(float))
        for name in names
    }
