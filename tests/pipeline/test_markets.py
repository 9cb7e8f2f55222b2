"""Markets stay apart, and a symbol that was listed late starts the features, not an error."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import BarPanel, FilesSource, align
from cappuccino_ml.bars.universe import Universe
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.feature_months import FeatureMonths

UNIVERSE = Universe(tickers=("BTC", "UNI"))


def _bars(symbol: str, *, start: str, end: str, seed: int) -> pd.DataFrame:
    stamps = pd.date_range(start, end, freq="h", tz="UTC", inclusive="left")
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, len(stamps))))
    bars = {"symbol": symbol, "timestamp": stamps, "open": close, "high": close * 1.01, "low": close * 0.99}
    return pd.DataFrame({**bars, "close": close, "volume": generator.uniform(1, 2, len(stamps))})


def test_months_before_the_last_listing_have_no_features_and_no_error() -> None:
    frame = pd.concat(
        [
            _bars("BTC-USD", start="2024-01-01", end="2024-04-01", seed=1),
            _bars("UNI-USD", start="2024-02-10", end="2024-04-01", seed=2),
        ]
    )

    def read(*, start: datetime, end: datetime) -> BarPanel:
        inside = frame[(frame["timestamp"] >= start) & (frame["timestamp"] < end)]
        return align(inside, UNIVERSE)

    months = FeatureMonths(read, universe=UNIVERSE, common_first=datetime(2024, 2, 10, tzinfo=UTC))
    assert months.bars("2024-01") is None
    february, march = months.bars("2024-02"), months.bars("2024-03")
    assert february is not None
    assert months.compute("2024-02", february)["timestamp"].min() == pd.Timestamp("2024-02-10", tz="UTC")
    assert march is not None
    assert len(months.compute("2024-03", march)) == 2 * 31 * 24


@pytest.mark.parametrize(
    "changed",
    [{"seed": 8}, {"universe": Universe(tickers=("BTC", "ETH"))}, {"source": "placebo"}],
)
def test_models_of_different_markets_never_share_a_name(tmp_path: Path, changed: dict[str, object]) -> None:
    usual = Configuration(state=tmp_path)
    assert usual.market == "simulated-usd-1h"
    assert Configuration(state=tmp_path, **changed).market != usual.market  # type: ignore[arg-type]


def test_two_folders_of_files_are_two_markets(tmp_path: Path) -> None:
    markets = {
        Configuration(state=tmp_path, source="files", files_folder=tmp_path / name).market for name in ("one", "two")
    }
    assert len(markets) == 2


def test_other_files_in_the_folder_do_not_change_what_the_bars_are(tmp_path: Path) -> None:
    for symbol in UNIVERSE.symbols:
        _bars(symbol, start="2024-01-01", end="2024-01-03", seed=3).to_csv(tmp_path / f"{symbol}.csv", index=False)
    before = FilesSource(tmp_path, symbols=UNIVERSE.symbols).identity()
    (tmp_path / "summary.csv").write_text("not,bars\n1,2\n")
    assert FilesSource(tmp_path, symbols=UNIVERSE.symbols).identity() == before
