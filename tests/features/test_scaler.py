"""The scaler sees training rows only, survives JSON exactly and refuses what it cannot scale."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cappuccino_ml.core import DataError, read_settings, write_json
from cappuccino_ml.features import FEATURES, FeatureSchema, Scaler, latest_features

TRAIN = slice(300, 1000)


@pytest.fixture(scope="module")
def features(panel):
    return latest_features(panel)


def test_changing_test_rows_leaves_the_scaler_equal(features):
    changed = features.copy()
    changed[1000:] *= -1e6
    changed[:300] = np.nan
    assert Scaler.fit(changed, TRAIN) == Scaler.fit(features, TRAIN)


def test_a_mask_and_a_slice_of_the_same_rows_agree(features):
    mask = np.zeros(len(features), dtype=bool)
    mask[TRAIN] = True
    assert Scaler.fit(features, mask) == Scaler.fit(features, TRAIN)


def test_training_rows_come_out_near_zero_mean_and_unit_spread(features):
    scaled = Scaler.fit(features, TRAIN).transform(features[TRAIN])
    assert np.abs(scaled.mean(axis=0)).max() < 0.1
    assert 0.8 < scaled.std(axis=0).min() <= scaled.std(axis=0).max() < 1.2


def test_values_are_clipped_at_six(features):
    wild = features[TRAIN] * 1e9
    scaled = Scaler.fit(features, TRAIN).transform(wild)
    assert np.abs(scaled).max() == 6.0


def test_one_outlier_hardly_moves_the_scale(features):
    spoiled = features.copy()
    spoiled[500, 0, 0] = 1e3
    clean, other = Scaler.fit(features, TRAIN), Scaler.fit(spoiled, TRAIN)
    without_winsorising = spoiled[TRAIN, 0, 0].std() / clean.scale[0][0]
    assert other.scale[0][0] / clean.scale[0][0] < without_winsorising / 3


def test_output_is_float32_contiguous_and_finite_for_any_leading_shape(features):
    scaler = Scaler.fit(features, TRAIN)
    for x in (features[700], features[300:], features[300:310][None], features[300:][::-1]):
        scaled = scaler.transform(x)
        assert scaled.shape == x.shape
        assert scaled.dtype == np.float32
        assert scaled.flags.c_contiguous
        assert np.isfinite(scaled).all()


def test_json_round_trip_is_exact(features, tmp_path):
    scaler = Scaler.fit(features, TRAIN)
    assert Scaler.model_validate_json(scaler.model_dump_json()) == scaler
    assert Scaler.model_validate(json.loads(json.dumps(scaler.model_dump(mode="json")))) == scaler
    write_json(tmp_path / "scaler.json", scaler)
    again = read_settings(Scaler, tmp_path / "scaler.json")
    assert again.transform(features[300:]).tobytes() == scaler.transform(features[300:]).tobytes()


@given(center=st.floats(allow_nan=False, allow_infinity=False), scale=st.floats(min_value=5e-324, allow_infinity=False))
def test_json_round_trip_is_exact_for_any_float(center, scale):
    scaler = Scaler(center=((center,),), scale=((scale,),))
    assert Scaler.model_validate_json(scaler.model_dump_json()) == scaler


def test_a_dead_column_is_refused_by_ticker_and_feature(features, panel):
    dead = features.copy()
    dead[:, 2, FEATURES.index("rsi")] = 50.0
    with pytest.raises(DataError, match="rsi of LTC never moves in 700 training rows"):
        Scaler.fit(dead, TRAIN, schema=FeatureSchema.of(panel.universe))


def test_a_breakout_that_is_nearly_always_zero_is_not_dead(features):
    rare = features.copy()
    rare[:, 0, FEATURES.index("range_breakout_volume")] = 0.0
    rare[600, 0, FEATURES.index("range_breakout_volume")] = 3.0
    assert Scaler.fit(rare, TRAIN).scale[0][FEATURES.index("range_breakout_volume")] > 0


def test_warm_up_rows_are_refused_in_fit_and_in_transform(features, panel):
    with pytest.raises(DataError, match="of BTC is nan in training row 0 of 900"):
        Scaler.fit(features, slice(0, 900), schema=FeatureSchema.of(panel.universe))
    with pytest.raises(DataError, match="not finite"):
        Scaler.fit(features, TRAIN).transform(features)


def test_too_few_rows_and_wrong_shapes_are_refused(features):
    with pytest.raises(DataError, match="1 training rows"):
        Scaler.fit(features, slice(400, 401))
    with pytest.raises(DataError, match="not \\(rows, tickers, features\\)"):
        Scaler.fit(features[:, 0], TRAIN)
    with pytest.raises(DataError, match="fitted on"):
        Scaler.fit(features, TRAIN).transform(features[300:, :2])


@pytest.mark.parametrize(
    ("center", "scale"), [(((0.0,),), ((0.0,),)), (((0.0, 1.0),), ((1.0,),)), (((float("inf"),),), ((1.0,),)), ((), ())]
)
def test_an_unsound_scaler_cannot_be_made(center, scale):
    with pytest.raises(ValidationError):
        Scaler(center=center, scale=scale)
