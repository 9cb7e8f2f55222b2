"""Bars: four months of the simulated market on one hourly grid, audited.  python -m examples.load_bars [FOLDER]"""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from cappuccino_ml.bars import BarPanel, SimulatedSource, Universe, align, audit_bars
from examples import folder

UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)


def load(place: Path) -> BarPanel:
    """The stored bars on one grid: symbols joined by time, holes of at most six hours filled and marked."""
    return align(pd.read_parquet(place / "bars.parquet"), UNIVERSE)


def main(place: Path) -> None:
    """Fetch, store, audit, show."""
    source = SimulatedSource(seed=7)  # another: CcxtSource, AlpacaSource, files_source
    parts = [
        source.fetch(symbol=symbol, universe=UNIVERSE, start=START, end=END).assign(symbol=symbol)
        for symbol in UNIVERSE.symbols
    ]
    bars = pd.concat(parts)
    bars.to_parquet(place / "bars.parquet")
    report = audit_bars(bars, UNIVERSE)
    print(f"{len(bars):,} bars of the {source.label} market, audit {'passed' if report.passed else 'FAILED'}")
    panel = load(place)
    for column, symbol in enumerate(UNIVERSE.symbols):
        filled = int(panel.is_filled[:, column].sum())
        print(f"{symbol}: {panel.close[0, column]:.2f} to {panel.close[-1, column]:.2f}, {filled} hours filled in")


if __name__ == "__main__":
    main(folder())
