"""Data sets for benchmarks: the planted market of a seed, or a folder of real bars, frozen as the pipeline does it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from cappuccino_ml.bars import BarSource, SimulatedSource, Universe, align, files_source
from cappuccino_ml.features import MarketTable
from cappuccino_ml.study import Dataset, SplitSettings, freeze_dataset, make_splits

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)  # of the demo


def planted(root: Path, *, seed: int, start: datetime = START, end: datetime = END) -> Dataset:
    """Two years of the simulated market."""
    return freeze(root, SimulatedSource(seed=seed), Universe(), start=start, end=end)


def files(root: Path, folder: Path, *, quote: str) -> Dataset:
    """Everything a folder of bars has."""
    universe = Universe(quote=quote)
    source = files_source(folder, universe)
    start, end = source.coverage(universe)
    assert end is not None
    return freeze(root, source, universe, start=start, end=end)


def freeze(root: Path, source: BarSource, universe: Universe, *, start: datetime, end: datetime) -> Dataset:
    """The bars of [start, end) as a frozen data set with the default splits."""
    parts: Iterable[pd.DataFrame] = [
        source.fetch(symbol=symbol, universe=universe, start=start, end=end).assign(symbol=symbol)
        for symbol in universe.symbols
    ]
    market = MarketTable.from_panel(align(pd.concat(parts), universe))
    return freeze_dataset(
        root,
        market=market,
        splits=make_splits(len(market), SplitSettings()),
        label=source.label,
        source=source.identity(),
        bars_manifest="made for a benchmark",
        bars_per_year=universe.bars_per_year,
    )
