"""Prices and volumes become ratios to their trailing mean, in any currency."""

from dataclasses import replace

import numpy as np
import pytest

from cappuccino_ml.core import DataError
from cappuccino_ml.features import FEATURES, WARM_UP_BARS, latest_features, raw_indicators, stationary


def test_prices_and_volume_agree_with_a_plain_loop(panel):
    features = latest_features(panel)
    for t in (23, 24, 167, 168, 900, 1499):
        reference = sum(panel.close[s, 1] for s in range(t - 23, t + 1)) / 24
        for column, name in enumerate(("open", "high", "low", "close")):
            assert features[t, 1, column] == pytest.approx(np.log(getattr(panel, name)[t, 1] / reference), abs=1e-12)
        if t >= 167:
            mean = sum(panel.volume[s, 1] for s in range(t - 167, t + 1)) / 168
            assert features[t, 1, 4] == pytest.approx(np.log(max(panel.volume[t, 1] / mean, 0.01)), abs=1e-12)
    assert np.isnan(features[22, :, :4]).all()
    assert np.isnan(features[166, :, 4]).all()


def test_the_other_nine_stay_as_they_are(panel):
    raw = raw_indicators(panel)
    np.testing.assert_array_equal(stationary(raw, panel)[..., 5:], raw[..., 5:])


def test_zero_volume_is_the_floor_even_after_a_week_of_it(panel):
    volume = panel.volume.copy()
    volume[400:800] = 0.0
    features = latest_features(replace(panel, volume=volume))
    np.testing.assert_array_equal(features[400:800, :, FEATURES.index("volume")], np.log(0.01))
    assert np.isfinite(features[WARM_UP_BARS:]).all()


def test_features_do_not_depend_on_the_unit_of_price_or_volume(panel):
    prices = {name: getattr(panel, name) * 1024.0 for name in ("open", "high", "low", "close")}
    other = latest_features(replace(panel, **prices, volume=panel.volume / 8))
    np.testing.assert_allclose(other, latest_features(panel), rtol=1e-9, atol=1e-11)


def test_stationary_leaves_its_input_alone(panel):
    raw = raw_indicators(panel)
    before = raw.tobytes()
    stationary(raw, panel)
    assert raw.tobytes() == before


def test_raw_indicators_of_other_bars_are_refused(panel):
    with pytest.raises(DataError, match=r"\(1499, 3, 14\), not \(1500, 3, 14\)"):
        stationary(raw_indicators(panel)[1:], panel)
