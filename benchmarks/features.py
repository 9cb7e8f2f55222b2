"""Features of five years in one go, and of one new bar from a saved state after one and after ten years of history."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from cappuccino_ml.bars import BarPanel, Universe
from cappuccino_ml.features import RecursiveFeatures, latest_features

TARGET_SECONDS_5Y, TARGET_MS_PER_NEW_BAR, TARGET_GROWTH = 1.5, 5.0, 1.2
YEAR = 8760  # hourly bars
NEW_BARS = 300


def made_bars(*, rows: int) -> BarPanel:
    """Seven tickers on a random walk with fat tails; no bar is filled."""
    universe = Universe()
    rng = np.random.default_rng(0)
    shape = (rows, len(universe.tickers))
    close = 100 * np.exp(np.cumsum(0.006 * rng.standard_t(4, shape), axis=0))
    open_ = np.concatenate([close[:1], close[:-1]])
    return BarPanel(
        universe=universe,
        timestamps=np.datetime64("2015-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h"),
        open=open_,
        high=np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.003, shape))),
        low=np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.003, shape))),
        close=close,
        volume=rng.lognormal(3, 1, shape),
        is_filled=np.zeros(shape, dtype=np.bool_),
    )


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one_restart(folder: Path, bar: BarPanel) -> None:
    """What a process that wakes up once an hour does: load, take in the new bar, save."""
    stream = RecursiveFeatures.load(folder, expected=RecursiveFeatures(bar.universe).schema)
    stream.update(bar)
    stream.save(folder)


def main() -> int:
    years = {1: YEAR, 10: 10 * YEAR}
    panel = made_bars(rows=max(years.values()) + NEW_BARS)
    seconds_5y = median(seconds(lambda: latest_features(panel.slice(0, 5 * YEAR))) for _ in range(5))
    stream = RecursiveFeatures(panel.universe)
    updates, restarts = [], {length: [] for length in years}
    with tempfile.TemporaryDirectory() as root:
        folders = {length: Path(root) / f"{length}y" for length in years}
        for length, rows in years.items():
            stream.extend(panel.slice(stream.bars, rows))
            stream.save(folders[length])
        # one and ten years in turn, so that whatever else the machine does hits both alike
        for n in range(NEW_BARS):
            bar = panel.slice(years[10] + n, years[10] + n + 1)
            updates.append(seconds(lambda bar=bar: stream.update(bar)))
            for length, rows in years.items():
                bar = panel.slice(rows + n, rows + n + 1)
                restarts[length].append(seconds(lambda bar=bar, length=length: one_restart(folders[length], bar)))
    ms_per_new_bar = median(updates) * 1e3
    growth = median(restarts[10]) / median(restarts[1])
    print(f"{'7 tickers, hourly':44}{'measured':>12}{'target':>12}")
    print(f"{'5 years in one go, s':44}{seconds_5y:>12.2f}{'<= ' + str(TARGET_SECONDS_5Y):>12}")
    print(f"{'one new bar, ms':44}{ms_per_new_bar:>12.2f}{'<= ' + str(TARGET_MS_PER_NEW_BAR):>12}")
    for length in years:
        print(f"{f'load, one new bar, save: {length} y of history, ms':44}{median(restarts[length]) * 1e3:>12.2f}")
    print(f"{'10 years over 1 year':44}{growth:>12.2f}{'<= ' + str(TARGET_GROWTH):>12}")
    figures = {"seconds_5y": seconds_5y, "ms_per_new_bar": ms_per_new_bar, "growth_10y_over_1y": growth}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
