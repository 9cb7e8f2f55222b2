"""The gate sees through luck but not through a leak: who is shown the next return wins by a mile, one bar late not."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import SimulatedSource, Universe, align
from cappuccino_ml.environment import Act, Backtest, Costs, Guards, backtest
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


@pytest.fixture(scope="module")
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
        trials=paths(dataset, actor),
        finalists={"mlp": Finalist(trial=trial, actor=cast(Actor, actor), folder=root)},
        champion=None,
        cross=CrossValidation((), {}, ("not part of this test",)),
        ledger=HoldoutLedger(root / "ledger"),
        gate=GATE,
    )
    return report


def paths(dataset: Dataset, actor: Cheater) -> TrialPaths:
    runs = [run(dataset.market, actor, fold.test) for fold in dataset.splits.folds]

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in runs])[:, None]

    return TrialPaths(
        numbers=(0,),
        fold_bars=tuple(len(one.returns) for one in runs),
        returns=column("returns"),
        turnover=column("turnover"),
        exposure=column("weights").sum(-1),
    )


def run(market: MarketTable, actor: Cheater, rows: tuple[int, int]) -> Backtest:
    return backtest(
        act=actor.over(market, first=rows[0], last=rows[1]),
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=rows[0],
        last=rows[1],
        guards=actor.guards,
        costs=actor.costs,
    )


def test_who_is_shown_the_next_return_wins_by_a_mile(placebo: MarketTable, tmp_path: Path) -> None:
    report = judged(leaking(placebo, bars_late=0), tmp_path)
    assert report.verdict.outcome == "win"
    assert report.verdict.test is not None
    assert report.verdict.test.lower > 10.0
    assert report.superior.p_value(0) == pytest.approx(1 / 300)
    assert report.overfitting.deflated_sharpe > 0.999
    assert report.stress["double costs"] > 5.0
    # The one-bar extra lag of the stress table is the same lesson: what was known too early is worth nothing later.
    assert report.stress["one bar later"] < 0.0


def test_the_same_one_bar_late_loses_it(placebo: MarketTable, tmp_path: Path) -> None:
    report = judged(leaking(placebo, bars_late=1), tmp_path)
    assert report.verdict.outcome == "reject"
    assert {"a", "b", "c"} <= {clause.name for clause in report.verdict.failing}
    assert report.superior.superior == ()
    assert report.verdict.test is not None
    assert report.verdict.test.upper < 0.0
