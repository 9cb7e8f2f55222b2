"""Bar panels made with numpy: a random market, with filled bars if asked."""

from collections.abc import Callable

import numpy as np
import pytest

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.universe import Universe

MakePanel = Callable[..., BarPanel]


def _make_panel(
    *, rows: int, tickers: tuple[str, ...] = ("BTC", "ETH", "LTC"), seed: int = 0, filled: float = 0.0
) -> BarPanel:
    rng = np.random.default_rng(seed)
    shape = (rows, len(tickers))
    is_filled = rng.random(shape) < filled
    if rows:
        is_filled[0] = False
    moves = np.where(is_filled, 0.0, 0.006 * rng.standard_t(4, shape))
    close = np.array([100.0 * 10.0 ** -(n % 4) for n in range(len(tickers))]) * np.exp(np.cumsum(moves, axis=0))
    open_ = np.concatenate([close[:1], close[:-1]])
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.003, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.003, shape)))
    volume = rng.lognormal(3, 1, shape)
    return BarPanel(
        universe=Universe(tickers=tickers),
        timestamps=np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h"),
        open=np.where(is_filled, close, open_),
        high=np.where(is_filled, close, high),
        low=np.where(is_filled, close, low),
        close=close,
        volume=np.where(is_filled, 0.0, volume),
        is_filled=is_filled,
    )


@pytest.fixture(scope="session")
def make_panel() -> MakePanel:
    return _make_panel


@pytest.fixture(scope="session")
def panel() -> BarPanel:
    """Some 1,500 bars of three tickers; 3% are filled."""
    return _make_panel(rows=1500, filled=0.03)
