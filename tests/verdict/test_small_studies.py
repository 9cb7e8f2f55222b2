"""The placebo made of real bars: nothing can be known in it, and everything else about it is as it was."""

import numpy as np
import pytest

from benchmarks import cheater
from benchmarks.small_studies import shifted
from cappuccino_ml.features import MarketTable


@pytest.fixture(scope="module")
def market() -> MarketTable:
    return cheater.placebo()


def simple(market: MarketTable) -> np.ndarray:
    return market.close[1:] / market.close[:-1] - 1.0


@pytest.mark.parametrize("seed", range(5))
def test_paid_returns_are_demeaned_and_moved_by_thirty_days_or_more_either_way(market: MarketTable, seed: int) -> None:
    moved, shift = shifted(market, seed=seed, bars_per_day=24.0)
    assert 720 <= shift <= len(market) - 720
    np.testing.assert_array_equal(moved.features, market.features)
    assert np.abs(simple(moved).mean(axis=0)).max() < 1e-15
    # The same shift for all tickers: what they do together stays so.
    expected = np.roll(simple(market) - simple(market).mean(axis=0), shift, axis=0)
    np.testing.assert_allclose(simple(moved), expected, atol=1e-14)
    gaps = np.roll(market.open[1:] / market.close[:-1], shift, axis=0)
    np.testing.assert_allclose(moved.open[1:] / moved.close[:-1], gaps, rtol=1e-12)
    np.testing.assert_array_equal(moved.tradable[1:], np.roll(market.tradable[1:], shift, axis=0))


def test_two_seeds_are_two_placebos_and_too_few_bars_are_refused(market: MarketTable) -> None:
    assert shifted(market, seed=1, bars_per_day=24.0)[1] != shifted(market, seed=2, bars_per_day=24.0)[1]
    with pytest.raises(ValueError, match="cannot be moved by 720 and more either way"):
        shifted(market.slice(0, 1400), seed=1, bars_per_day=24.0)
