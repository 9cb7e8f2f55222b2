"""Features: 14 per ticker, causal, with a data set frozen from them.  python -m examples.look_at_features [FOLDER]"""

from pathlib import Path

import numpy as np

from cappuccino_ml.features import MarketTable, check_features
from cappuccino_ml.study import Dataset, SplitSettings, freeze_dataset, load_dataset, make_splits
from examples import folder
from examples.load_bars import UNIVERSE, load

SPLITS = SplitSettings(folds=2, holdout_share=0.25, paper_bars=24, max_lookback=2, memory_bars=100)


def frozen(place: Path) -> Dataset:
    """The data set that `main` froze."""
    return load_dataset(next(path for path in (place / "datasets").iterdir() if not path.name.startswith(".")))


def main(place: Path) -> None:
    """Compute, check, show, freeze."""
    panel = load(place)
    report = check_features(panel)
    market = MarketTable.from_panel(panel)  # features [bars, tickers, 14]
    print(f"{market.features.shape} features, finite, blind to the future: {report.passed}")
    spread = np.nanstd(market.features[market.warm_up :], axis=(0, 1))
    print(", ".join(f"{name} {value:.3g}" for name, value in zip(market.schema.features, spread, strict=True)))
    dataset = freeze_dataset(
        place / "datasets",
        market=market,
        splits=make_splits(len(market), SPLITS),
        label="simulated",
        source={"name": "simulated", "seed": 7},
        bars_manifest="0" * 64,  # a lake table has a real one: table.manifest_hash()
        bars_per_year=UNIVERSE.bars_per_year,
    )
    print(f"data set {dataset.key}: development {dataset.splits.development}, holdout {dataset.splits.holdout}")


if __name__ == "__main__":
    main(folder())
