"""A two-month, three-ticker data set with its encoders, made once, and settings small enough to train in a second."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import SimulatedSource, Universe, align
from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings
from cappuccino_ml.environment import Guards, Layout
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import AgentSettings, Arm, PPOSettings, TrainingSettings
from cappuccino_ml.study import (
    Dataset,
    EncoderJob,
    EncoderPlan,
    FitJob,
    RewardOptions,
    RiskOptions,
    SearchSpace,
    SplitSettings,
    StudySettings,
    encoder_jobs,
    fit_encoder,
    freeze_dataset,
    make_splits,
)

UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
SPLITS = SplitSettings(folds=2, holdout_share=0.25, paper_bars=24, max_lookback=2, memory_bars=40)
ENCODER = EncoderSettings(lookback=2, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16)
LAYOUT = Layout(timestamps=4, environments=4, steps=16, episode_bars=32)
SPACE = SearchSpace(
    steps=256,
    net_dimension=(16, 32),
    net_dimension_step=16,
    batch_size=(64, 128),
    epochs=(3, 5),
    lookback=(1, 2),
    reward=RewardOptions(turnover_penalty=(), drawdown_penalty=(), concentration_penalty=()),
    risk=RiskOptions.none(),
    ft_d_token=(8, 16),
    ft_n_blocks=(1, 2),
    ft_n_heads=(1, 2),
    ft_encoding_dim=16,
    layout=LAYOUT,
)
STUDY = StudySettings(trials_per_side=2, generation=2, space=SPACE)


@dataclass(frozen=True)
class Lab:
    """What a study starts from."""

    dataset: Dataset
    encoders: dict[str, EncoderJob]


@pytest.fixture(scope="session")
def market() -> MarketTable:
    source = SimulatedSource(seed=7)
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    parts = [
        source.fetch(symbol=symbol, universe=UNIVERSE, start=start, end=end).assign(symbol=symbol)
        for symbol in UNIVERSE.symbols
    ]
    return MarketTable.from_panel(align(pd.concat(parts), UNIVERSE))


def freeze(root: Path, market: MarketTable, **changes: Any) -> Dataset:
    facts: dict[str, Any] = {
        "splits": make_splits(len(market), SPLITS),
        "label": "simulated",
        "source": {"name": "simulated", "seed": 7},
        "bars_manifest": "0" * 64,
        "bars_per_year": UNIVERSE.bars_per_year,
    }
    return freeze_dataset(root, market=market, **{**facts, **changes})


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, market: MarketTable) -> Lab:
    root = tmp_path_factory.mktemp("lab")
    dataset = freeze(root / "datasets", market)
    plan = EncoderPlan(encoder=ENCODER, pretraining=PretrainingSettings(epochs=1, batch_size=64))
    encoders = encoder_jobs(dataset, plan, root=root / "encoders")
    for job in encoders.values():
        fit_encoder(job)
    return Lab(dataset=dataset, encoders=encoders)


MakeJob = Callable[..., FitJob]


@pytest.fixture
def make_job(lab: Lab, tmp_path: Path) -> MakeJob:
    """A job of fold 1 whose training takes a fraction of a second."""

    def make(arm: Arm = "mlp", *, dataset: Dataset = lab.dataset, ppo: dict[str, Any] | None = None, **changes: Any):
        fold, encoder = dataset.splits.folds[1], lab.encoders["fold-1"]
        settings = {"steps": 512, "batch_size": 64, **(ppo or {})}
        job = FitJob(
            dataset_folder=dataset.folder,
            dataset_key=dataset.key,
            train_rows=fold.train,
            test_rows=fold.test,
            training=TrainingSettings(
                agent=AgentSettings(arm=arm, lookback=2, net_dimension=16, encoder=None if arm == "mlp" else ENCODER),
                ppo=PPOSettings.model_validate(settings),
                layout=LAYOUT,
                guards=Guards(dead_band=0.0),  # so little training leads to small actions only
            ),
            seed=6,
            encoder_folder=encoder.folder if arm == "ft_pretrained" else None,
            encoder_key=encoder.key if arm == "ft_pretrained" else None,
            code="test",
            root=tmp_path / "trials",
        )
        return job.model_copy(update=changes)

    return make


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def altered(market: MarketTable, *, row: int, ticker: int = 0, close: float = 1.0) -> MarketTable:
    """`market` with one revised close."""
    revised = market.close.copy()
    revised[row, ticker] += close
    return MarketTable(
        schema=market.schema,
        timestamps=market.timestamps,
        features=market.features,
        open=market.open,
        close=revised,
        tradable=market.tradable,
        warm_up=market.warm_up,
    )


def poisoned(market: MarketTable, *, rows: slice, seed: int = 0) -> MarketTable:
    """`market` with other features and prices on `rows`."""
    random = np.random.default_rng(seed)
    features, open_, close = market.features.copy(), market.open.copy(), market.close.copy()
    features[rows] = 50.0 * random.standard_normal(features[rows].shape)
    open_[rows] *= random.uniform(0.5, 2.0, open_[rows].shape)
    close[rows] *= random.uniform(0.5, 2.0, close[rows].shape)
    return MarketTable(
        schema=market.schema,
        timestamps=market.timestamps,
        features=features,
        open=open_,
        close=close,
        tradable=market.tradable,
        warm_up=market.warm_up,
    )
