"""Through the gate with a leak: who is shown the next return wins by a mile; with the same one bar late, it loses.

The market is a placebo of three months in which nothing can be known. `python -m benchmarks.cheater`; exit 1 if not so.
"""

import json
import sys
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from cappuccino_ml.bars import SimulatedSource, Universe, align
from cappuccino_ml.environment import Act, Costs, Guards, backtest
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import Actor, AgentSettings, TrainingSettings
from cappuccino_ml.study import (
    CrossValidation,
    Dataset,
    SplitSettings,
    StudyResult,
    StudySettings,
    TrialPaths,
    TrialResult,
    freeze_dataset,
    make_splits,
)
from cappuccino_ml.verdict import Finalist, GateSettings, HoldoutLedger, ValidationReport, validate

UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
# The cheater trades every hour. Its turnover would be a reason to reject it, which is not what is looked at here.
GATE = GateSettings(resamples=299, max_turnover_per_day=100.0)
GUARDS, COSTS = Guards(max_step=1.0), Costs(fee_bps=10.0)


@dataclass
class Cheater:
    """Buys what its first feature says will rise and sells the rest; as much of an `Actor` as judging asks for."""

    arm: str = "mlp"
    key: str = "cheater"
    guards: Guards = field(default_factory=lambda: GUARDS)
    costs: Costs = field(default_factory=lambda: COSTS)

    def over(self, market: MarketTable, *, first: int, last: int) -> Act:
        return lambda t, entries: np.where(market.features[t, :, 0] > 0, 0.33, -1.0)


def placebo() -> MarketTable:
    """Three months of a market in which nothing can be known."""
    source = SimulatedSource(seed=7, variant="placebo")
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
    parts = [
        source.fetch(symbol=symbol, universe=UNIVERSE, start=start, end=end).assign(symbol=symbol)
        for symbol in UNIVERSE.symbols
    ]
    return MarketTable.from_panel(align(pd.concat(parts), UNIVERSE))


def leaking(market: MarketTable, *, bars_late: int) -> MarketTable:
    """Its first feature at the close of bar t is what bar t + 1 will bring, or what bar t + 1 - `bars_late` brought."""
    gain = np.log(market.close / market.open)
    shown = np.roll(gain, bars_late - 1, axis=0)
    features = market.features.copy()
    features[market.warm_up :, :, 0] = shown[market.warm_up :]
    return replace(market, features=features)


def judged(market: MarketTable, root: Path) -> ValidationReport:
    """The verdict on the cheater in that market; data set and reading of the holdout are kept below `root`."""
    splits = make_splits(
        len(market), SplitSettings(folds=2, holdout_share=0.3, paper_bars=24, max_lookback=2, memory_bars=40)
    )
    dataset = freeze_dataset(
        root / "datasets",
        market=market,
        splits=splits,
        label="simulated",
        source={"name": "simulated", "seed": 7},
        bars_manifest="0" * 64,
        bars_per_year=UNIVERSE.bars_per_year,
    )
    actor = Cheater()
    trial = TrialResult(
        number=0,
        arm="mlp",
        state="complete",
        value=1.0,
        fold_sharpes=(1.0, 1.0),
        fold_jobs=("a", "b"),
        turnover_per_day=1.0,
        steps=1,
        parameters=1,
        params={},
        training=TrainingSettings(agent=AgentSettings(arm="mlp")),
    )
    report, _ = validate(
        dataset=dataset,
        study=StudyResult(key="s", dataset_key=dataset.key, settings=StudySettings(), trials=(trial,)),
        trials=_paths(dataset, actor),
        finalists={"mlp": Finalist(trial=trial, actor=cast(Actor, actor), folder=root)},
        champion=None,
        cross=CrossValidation((), {}, ("a cheater is not trained",)),
        ledger=HoldoutLedger(root / "ledger"),
        gate=GATE,
    )
    return report


def _paths(dataset: Dataset, actor: Cheater) -> TrialPaths:
    market = dataset.market
    runs = [
        backtest(
            act=actor.over(market, first=fold.test[0], last=fold.test[1]),
            open_=market.open,
            close=market.close,
            tradable=market.tradable,
            first=fold.test[0],
            last=fold.test[1],
            guards=actor.guards,
            costs=actor.costs,
        )
        for fold in dataset.splits.folds
    ]

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in runs])[:, None]

    return TrialPaths(
        numbers=(0,),
        fold_bars=tuple(len(one.returns) for one in runs),
        returns=column("returns"),
        turnover=column("turnover"),
        exposure=column("weights").sum(-1),
    )


def main() -> int:
    market, outcomes = placebo(), {}
    print(f"{'shown':26}{'outcome':>14}{'Sharpe':>9}{'one-sided bounds of b':>26}{'p of a':>9}  failing clauses")
    with tempfile.TemporaryDirectory() as root:
        for late, name in enumerate(("the next return", "the same, one bar late")):
            report = judged(leaking(market, bars_late=late), Path(root) / str(late))
            verdict, test = report.verdict, report.verdict.test
            outcomes[name] = verdict.outcome
            bounds = "not testable" if test is None else f"{test.lower:+.2f} .. {test.upper:+.2f}"
            failing = " ".join(sorted({clause.name for clause in verdict.failing})) or "none"
            print(
                f"{name:26}{verdict.outcome:>14}{report.stress['as judged']:>+9.2f}{bounds:>26}"
                f"{report.superior.p_value(0):>9.3f}  {failing}"
            )
    print(json.dumps(outcomes))
    return 0 if list(outcomes.values()) == ["win", "reject"] else 1


if __name__ == "__main__":
    sys.exit(main())
