"""Rules in place of networks, and a study with one finalist a side: what judging is tried on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.bars import SimulatedSource, Universe, align
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.environment import Act, Costs, Guards
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import Actor, AgentSettings, Arm, TrainingSettings
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
from cappuccino_ml.verdict import (
    Finalist,
    GateSettings,
    HoldoutLedger,
    ValidationReport,
    validate,
)

UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
GATE = GateSettings(resamples=199)
Floats = NDArray[np.float64]


@dataclass
class FakeActor:
    """A rule in place of a network: as much of an `Actor` as judging asks for. `seen` counts rows it was shown."""

    arm: Arm
    key: str
    rule: Callable[[int], float | Floats]
    guards: Guards = field(default_factory=Guards)
    costs: Costs = field(default_factory=Costs)
    seen: list[tuple[int, int]] = field(default_factory=list)

    def over(self, market: MarketTable, *, first: int, last: int) -> Act:
        self.seen.append((first, last))
        tickers = len(market.schema.tickers)
        return lambda t, entries: np.broadcast_to(self.rule(t), tickers).astype(np.float64)


def weekly(t: int) -> float:
    """Buys for half a week and sells for the other half."""
    return 0.5 if t % 168 < 84 else -0.5


def made_dataset(root: Path) -> Dataset:
    source = SimulatedSource(seed=7)
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    parts = [
        source.fetch(symbol=symbol, universe=UNIVERSE, start=start, end=end).assign(symbol=symbol)
        for symbol in UNIVERSE.symbols
    ]
    market = MarketTable.from_panel(align(pd.concat(parts), UNIVERSE))
    return freeze_dataset(
        root,
        market=market,
        splits=make_splits(
            len(market), SplitSettings(folds=2, holdout_share=0.18, paper_bars=24, max_lookback=2, memory_bars=40)
        ),
        label="simulated",
        source={"name": "simulated", "seed": 7},
        bars_manifest="0" * 64,
        bars_per_year=UNIVERSE.bars_per_year,
    )


def trial(number: int, arm: Arm, value: float | None) -> TrialResult:
    encoder = None if arm == "mlp" else EncoderSettings(lookback=3)
    return TrialResult(
        number=number,
        arm=arm,
        state="failed" if value is None else "complete",
        value=value,
        fold_sharpes=() if value is None else (value, value),
        fold_jobs=(f"{number}a", f"{number}b"),
        turnover_per_day=0.1,
        steps=100,
        parameters=10,
        params={},
        training=TrainingSettings(agent=AgentSettings(arm=arm, encoder=encoder)),
        error="diverged" if value is None else None,
    )


def paths(dataset: Dataset, *, skill: float = 0.0) -> TrialPaths:
    """Bars of trials 0 and 1, half invested; `skill` is the drift per bar of trial 1."""
    bars = tuple(fold.test[1] - fold.test[0] for fold in dataset.splits.folds)
    rng = np.random.default_rng(0)
    returns = rng.normal([0.0, skill], 0.001, (sum(bars), 2))
    half = np.full(returns.shape, 0.5)
    return TrialPaths(numbers=(0, 1), fold_bars=bars, returns=returns, turnover=0.1 * half, exposure=half)


class Case:
    """A study with one finalist a side; the FT side is the better on the folds unless told otherwise."""

    def __init__(self, dataset: Dataset, root: Path, *, ft: float = 1.0, mlp: float = 0.5, key: str = "s1") -> None:
        self.dataset = dataset
        self.actors = {"ft": FakeActor("ft_scratch", "ft-key", weekly), "mlp": FakeActor("mlp", "mlp-key", weekly)}
        trials = (trial(0, "mlp", mlp), trial(1, "ft_scratch", ft), trial(2, "mlp", None))
        self.study = StudyResult(key=key, dataset_key=dataset.key, settings=StudySettings(), trials=trials)
        self.trials = {"ft": trials[1], "mlp": trials[0]}
        self.root = root
        self.ledger = HoldoutLedger(root)
        self.champion: FakeActor | None = None

    def judge(self, **changes: Any) -> tuple[ValidationReport, pd.DataFrame]:
        finalists = {
            side: Finalist(trial=self.trials[side], actor=cast(Actor, actor), folder=Path(side))
            for side, actor in self.actors.items()
        }
        values: dict[str, Any] = {
            "dataset": self.dataset,
            "study": self.study,
            "trials": paths(self.dataset),
            "finalists": finalists,
            "champion": self.champion,
            "ledger": self.ledger,
            "gate": GATE,
            "cross": CrossValidation((), {}, ("not part of this test",)),
        }
        return validate(**{**values, **changes})
