"""Data sets for benchmarks: the planted market of a seed, or a folder of real bars, frozen as the pipeline does it."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from cappuccino_ml.bars import BarPanel, BarSource, SimulatedSource, Universe, align, files_source
from cappuccino_ml.bars.planted import long_or_cash, regime_probability
from cappuccino_ml.environment import Costs, Guards, backtests
from cappuccino_ml.features import MarketTable
from cappuccino_ml.metrics import annual_sharpe
from cappuccino_ml.study import Dataset, SplitSettings, freeze_dataset, make_splits

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)  # of the demo


def planted(root: Path, *, seed: int, start: datetime = START, end: datetime = END) -> Dataset:
    """Two years of the simulated market."""
    return freeze(root, SimulatedSource(seed=seed), Universe(), start=start, end=end)


def yardsticks(dataset: Dataset, *, seed: int) -> dict[str, float]:
    """Net annual Sharpe on the last fold's test rows: of a filter that knows the planted effect, and of holding."""
    market, (first, last) = dataset.market, dataset.splits.folds[-1].test
    is_long = regime_probability(panel(SimulatedSource(seed=seed), Universe(), start=START, end=END)) > 0.5
    acts = {"filter": long_or_cash(is_long), "equal weight": long_or_cash(np.ones(len(is_long), dtype=bool))}
    results = backtests(
        acts=list(acts.values()),
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=first,
        last=last,
        guards=Guards(),
        costs=Costs(),
    )
    sharpes = [annual_sharpe(result.returns, dataset.config.bars_per_year) for result in results]
    return dict(zip(acts, sharpes, strict=True))


def files(root: Path, folder: Path, *, quote: str) -> Dataset:
    """Everything a folder of bars has."""
    universe = Universe(quote=quote)
    source = files_source(folder, universe)
    start, end = source.coverage(universe)
    assert end is not None
    return freeze(root, source, universe, start=start, end=end)


def freeze(
    root: Path,
    source: BarSource,
    universe: Universe,
    *,
    start: datetime,
    end: datetime,
    splits: SplitSettings | None = None,
) -> Dataset:
    """The bars of [start, end) as a frozen data set, with the default splits if no others are given."""
    market = MarketTable.from_panel(panel(source, universe, start=start, end=end))
    return freeze_dataset(
        root,
        market=market,
        splits=make_splits(len(market), splits or SplitSettings()),
        label=source.label,
        source=source.identity(),
        bars_manifest="made for a benchmark",
        bars_per_year=universe.bars_per_year,
    )


def panel(source: BarSource, universe: Universe, *, start: datetime, end: datetime) -> BarPanel:
    """The bars of [start, end) on one grid."""
    parts = [
        source.fetch(symbol=symbol, universe=universe, start=start, end=end).assign(symbol=symbol)
        for symbol in universe.symbols
    ]
    return align(pd.concat(parts), universe)
