"""PSI against a plain oracle, the shift it must see, and what is usual within training."""

import numpy as np
import pytest

from cappuccino_ml.core import DataError
from cappuccino_ml.features import FEATURES, FeatureSchema
from cappuccino_ml.trading.drift import FeatureBins, drift

from .conftest import UNIVERSE

SCHEMA = FeatureSchema.of(UNIVERSE)


def rows(count: int, *, seed: int, shift: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, 3, len(FEATURES)))
    values[..., 0] += shift
    values[..., 12] *= values[..., 12] > 1.2  # mostly 0, as range_breakout_volume is
    return values


def test_psi_is_the_textbooks_sum_per_feature_over_all_tickers() -> None:
    training, now = rows(4000, seed=1), rows(300, seed=2, shift=0.4)
    bins = FeatureBins.fit(training, schema=SCHEMA)
    for feature in (0, 5, 12):
        before, after = [], []
        for ticker in range(3):
            edges = np.quantile(training[:, ticker, feature], np.arange(1, 10) / 10)
            before += [sum(value > edge for edge in edges) for value in training[:, ticker, feature]]
            after += [sum(value > edge for edge in edges) for value in now[:, ticker, feature]]
        p = np.maximum(np.bincount(after, minlength=10) / len(after), 1e-4)
        q = np.maximum(np.bincount(before, minlength=10) / len(before), 1e-4)
        assert drift(now, bins)[feature].psi == pytest.approx(float(np.sum((p - q) * np.log(p / q))), abs=1e-9)


def test_a_shift_is_seen_in_its_feature_only_and_training_windows_say_what_is_usual() -> None:
    bins = FeatureBins.fit(rows(8000, seed=1), schema=SCHEMA)
    found = drift(rows(168, seed=2, shift=0.8), bins)
    assert [one.feature for one in found if one.word != "stable"] == [FEATURES[0]]
    assert found[0].word == "shifted"
    assert all(one.usual is not None and 0 < one.usual < 0.1 for one in found)
    assert FeatureBins.model_validate_json(bins.model_dump_json()) == bins
    assert drift(rows(720, seed=2), bins)[0].usual is None  # what is usual for a week says nothing of a month


def test_a_short_training_has_no_usual_value_and_too_short_a_one_is_refused() -> None:
    bins = FeatureBins.fit(rows(300, seed=1), schema=SCHEMA)
    assert drift(rows(168, seed=2), bins)[0].usual is None
    with pytest.raises(DataError, match="at least 10"):
        FeatureBins.fit(rows(9, seed=1), schema=SCHEMA)
