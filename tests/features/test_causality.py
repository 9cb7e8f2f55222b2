"""Features know only the past, and forget it within the warm-up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.features import CONTEXT_BARS, FEATURES, WARM_UP_BARS, latest_features, raw_indicators

PRICES = ("open", "high", "low", "close")


@pytest.fixture(scope="module")
def whole(panel):
    return raw_indicators(panel), latest_features(panel)


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 1500))
def test_deleting_the_future_leaves_the_past_bit_identical(panel, whole, cut):
    past = panel.slice(0, cut)
    assert raw_indicators(past).tobytes() == whole[0][:cut].tobytes()
    assert latest_features(past).tobytes() == whole[1][:cut].tobytes()


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 1499), seed=st.integers(0, 99))
def test_changing_the_future_leaves_the_past_bit_identical(panel, whole, cut, seed):
    noise = np.random.default_rng(seed).uniform(0.01, 100, panel.close[cut:].shape)
    changed = {
        name: np.concatenate([getattr(panel, name)[:cut], getattr(panel, name)[cut:] * noise])
        for name in (*PRICES, "volume")
    }
    assert latest_features(replace(panel, **changed))[:cut].tobytes() == whole[1][:cut].tobytes()


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_defect_07_indicator_memory_is_over_after_300_bars(panel, whole, factor):
    changed = {name: getattr(panel, name).copy() for name in (*PRICES, "volume")}
    for values in changed.values():
        values[600] *= factor
    difference = np.abs(latest_features(replace(panel, **changed)) - whole[1])
    assert WARM_UP_BARS == 300
    assert difference[600].max() > 0.01
    for feature, name in enumerate(FEATURES):
        assert difference[600 + WARM_UP_BARS + 1 :, :, feature].max() < 1e-6, name


@pytest.mark.parametrize("last", [1100, 1357, 1500])
def test_a_trailing_window_gives_the_value_of_the_full_history_at_its_last_row(panel, whole, last):
    live = latest_features(panel.slice(last - CONTEXT_BARS, last))[-1]
    np.testing.assert_allclose(live, whole[1][last - 1], rtol=1e-8, atol=1e-10)


def test_warm_up_does_not_depend_on_where_the_history_starts(panel, whole):
    later = latest_features(panel.slice(400, 1500))
    np.testing.assert_allclose(later[WARM_UP_BARS:], whole[1][400 + WARM_UP_BARS :], atol=1e-6)
