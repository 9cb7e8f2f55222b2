"""Regimes of finished policies: the trials' own fold agents, the baselines beside them, the holdout only as stored."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import SimulatedSource, Universe, align
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.features import MarketTable
from cappuccino_ml.metrics import annual_sharpe
from cappuccino_ml.policy import AgentSettings, Arm, TrainingSettings
from cappuccino_ml.study import (
    Dataset,
    SplitSettings,
    StudyResult,
    StudySettings,
    TrialResult,
    freeze_dataset,
    make_splits,
)
from cappuccino_ml.verdict import RegimeRule, label_regimes, regime_benchmark

UNIVERSE = Universe(tickers=("BTC", "ETH"))
RULE = RegimeRule(days=1, threshold=0.01)
PER_YEAR = UNIVERSE.bars_per_year


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = SimulatedSource(seed=7)
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    parts = [
        source.fetch(symbol=symbol, universe=UNIVERSE, start=start, end=end).assign(symbol=symbol)
        for symbol in UNIVERSE.symbols
    ]
    market = MarketTable.from_panel(align(pd.concat(parts), UNIVERSE))
    splits = SplitSettings(folds=2, holdout_share=0.18, paper_bars=24, max_lookback=2, memory_bars=40)
    return freeze_dataset(
        tmp_path_factory.mktemp("datasets"),
        market=market,
        splits=make_splits(len(market), splits),
        label="simulated",
        source={"name": "simulated", "seed": 7},
        bars_manifest="0" * 64,
        bars_per_year=PER_YEAR,
    )


def trial(number: int, arm: Arm, value: float) -> TrialResult:
    encoder = None if arm == "mlp" else EncoderSettings(lookback=3)
    return TrialResult(
        number=number,
        arm=arm,
        state="complete",
        value=value,
        fold_sharpes=(value, value),
        fold_jobs=(f"{number}a", f"{number}b"),
        turnover_per_day=0.1,
        steps=100,
        parameters=10,
        params={},
        training=TrainingSettings(agent=AgentSettings(arm=arm, encoder=encoder)),
    )


STUDY = StudyResult(
    key="study",
    dataset_key="data",
    settings=StudySettings(),
    trials=(trial(0, "mlp", 1.0), trial(1, "ft_pretrained", 0.5), trial(2, "ft_scratch", 2.0)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    folder, random = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    for one in STUDY.trials:
        for key, fold in zip(one.fold_jobs, dataset.splits.folds, strict=True):
            bars = fold.test[1] - fold.test[0]
            place = folder / "trials" / key
            place.mkdir(parents=True)
            frame = {"net_return": random.normal(0, 0.01, bars), "turnover": random.uniform(0, 0.02, bars)}
            pd.DataFrame(frame).to_parquet(place / "returns.parquet")
    return folder


def run(dataset: Dataset, folder: Path, holdout: pd.DataFrame | None):
    return regime_benchmark(
        dataset=dataset, study=STUDY, study_folder=folder, holdout=holdout, rule=RULE, seed=1, resamples=99
    )


def test_on_the_folds_the_best_trials_own_bars_count_beside_all_baselines(dataset, folder):
    (span,) = run(dataset, folder, None).spans
    rows = {row.policy: row for row in span.rows}
    assert [name for name, row in rows.items() if not row.baseline] == ["ft", "mlp"]
    assert {"cash", "equal_weight", "bitcoin", "momentum", "ridge", "random"} <= set(rows)
    tests = [fold.test for fold in dataset.splits.folds]
    labels = np.concatenate(
        [label_regimes(dataset.market.close, rule=RULE, bars_per_year=PER_YEAR)[a:b] for a, b in tests]
    )
    stored = np.concatenate(
        [pd.read_parquet(folder / "trials" / key / "returns.parquet")["net_return"] for key in ("2a", "2b")]
    )
    for score in rows["ft"].scores:
        assert score.bars == (labels == score.regime).sum() > 0
        assert score.sharpe == pytest.approx(annual_sharpe(stored[labels == score.regime], PER_YEAR))
    assert span.bars == len(labels)
    assert sum(span.shares.values()) == pytest.approx(1.0)
    assert all(score.sharpe == 0.0 and score.interval is None for score in rows["cash"].scores)


def test_a_holdout_nobody_has_read_is_not_read_here_and_that_is_said(dataset, folder):
    found = run(dataset, folder, None)
    assert [span.name for span in found.spans] == ["folds"]
    assert "has not been read" in found.said


def test_a_stored_reading_is_split_by_regime_without_its_stresses(dataset, folder):
    first, last = dataset.splits.holdout
    random = np.random.default_rng(1)
    columns = {}
    for name in ("ft", "mlp", "champion", "cash"):
        columns[name] = random.normal(0, 0.01, last - first)
        columns[f"{name}#turnover"] = random.uniform(0, 0.02, last - first)
        columns[f"{name}@dearer"] = columns[name] - 1e-4
    found = run(dataset, folder, pd.DataFrame(columns))
    span = found.spans[1]
    assert (span.name, found.said) == ("holdout", "")
    assert [row.policy for row in span.rows] == ["ft", "mlp", "champion", "cash"]
    assert [row.policy for row in span.rows if row.baseline] == ["cash"]
    for row in span.rows:
        assert sum(score.bars for score in row.scores) == last - first
