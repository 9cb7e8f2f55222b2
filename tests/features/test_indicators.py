"""The fourteen raw indicators agree with TA-Lib and with plain loops, and are finite on awkward bars."""

from dataclasses import replace

import numpy as np
import pytest
import talib

from cappuccino_ml.core import DataError
from cappuccino_ml.features import FEATURES, WARM_UP_BARS, latest_features, raw_indicators


def column(raw, name):
    return raw[..., FEATURES.index(name)]


def test_the_first_five_columns_are_the_bars(panel):
    raw = raw_indicators(panel)
    assert raw.shape == (1500, 3, 14)
    assert raw.dtype == np.float64
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(column(raw, name), getattr(panel, name))


@pytest.mark.parametrize("ticker", [0, 2])
def test_macd_rsi_cci_and_dx_are_those_of_talib(panel, ticker):
    raw = raw_indicators(panel)[:, ticker]
    high, low, close = (np.ascontiguousarray(x[:, ticker]) for x in (panel.high, panel.low, panel.close))
    for name, line in zip(("macd", "macd_signal", "macd_hist"), talib.MACD(close, 12, 26, 9), strict=True):
        np.testing.assert_array_equal(column(raw, name), line / close)
    np.testing.assert_array_equal(column(raw, "rsi"), talib.RSI(close, 14))
    np.testing.assert_array_equal(column(raw, "cci"), talib.CCI(high, low, close, 14))
    np.testing.assert_array_equal(column(raw, "dx"), talib.DX(high, low, close, 14))


def test_atr_regime_shift_agrees_with_a_plain_loop(panel):
    high, low, close = panel.high[:, 1], panel.low[:, 1], panel.close[:, 1]
    true_range = [max(high[t], close[t - 1]) - min(low[t], close[t - 1]) for t in range(1, len(close))]
    atr = {14: sum(true_range[:14]) / 14}
    for t in range(15, len(close)):
        atr[t] = (13 * atr[t - 1] + true_range[t - 1]) / 14
    expected = np.full(len(close), np.nan)
    for t in range(14 + 49, len(close)):
        reference = sum(atr[s] for s in range(t - 49, t + 1)) / 50
        expected[t] = (atr[t] - reference) / reference
    np.testing.assert_allclose(column(raw_indicators(panel)[:, 1], "atr_regime_shift"), expected, rtol=1e-9, atol=1e-12)


def test_breakout_agrees_with_a_plain_loop_over_the_20_bars_before(panel):
    high, low, close, volume = panel.high[:, 0], panel.low[:, 0], panel.close[:, 0], panel.volume[:, 0]
    expected = np.full(len(close), np.nan)
    for t in range(20, len(close)):
        side = int(close[t] > max(high[t - 20 : t])) - int(close[t] < min(low[t - 20 : t]))
        expected[t] = side * volume[t] / (sum(volume[t - 19 : t + 1]) / 20)
    np.testing.assert_allclose(column(raw_indicators(panel)[:, 0], "range_breakout_volume"), expected, rtol=1e-12)
    assert (expected[20:] > 0).sum() > 20
    assert (expected[20:] < 0).sum() > 20


def test_breakout_looks_back_20_bars_and_no_further(make_panel):
    calm = make_panel(rows=60, tickers=("BTC",))
    flat = {name: np.full((60, 1), 100.0) for name in ("open", "high", "low", "close", "volume")}
    flat["close"][50] = flat["high"][50] = 101.0
    for age, outcome in ((20, 0.0), (21, 1.0)):
        bars = {name: values.copy() for name, values in flat.items()}
        bars["high"][50 - age] = 102.0
        assert column(raw_indicators(replace(calm, **bars)), "range_breakout_volume")[50, 0] == outcome


def test_trend_reacceleration_agrees_with_a_plain_loop(panel):
    high, low, close = panel.high[:, 2], panel.low[:, 2], panel.close[:, 2]
    rows = len(close)
    plus, minus, ranges = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    for t in range(1, rows):
        up, down = high[t] - high[t - 1], low[t - 1] - low[t]
        plus[t] = up if up > down and up > 0 else 0.0
        minus[t] = down if down > up and down > 0 else 0.0
        ranges[t] = max(high[t], close[t - 1]) - min(low[t], close[t - 1])
    smooth = [sum(x[1:14]) for x in (plus, minus, ranges)]
    dx, adx = {}, {}
    for t in range(14, rows):
        smooth = [value - value / 14 + x[t] for value, x in zip(smooth, (plus, minus, ranges), strict=True)]
        dx[t] = 100 * abs(smooth[0] - smooth[1]) / (smooth[0] + smooth[1])
    adx[27] = sum(dx[t] for t in range(14, 28)) / 14
    for t in range(28, rows):
        adx[t] = (13 * adx[t - 1] + dx[t]) / 14
    expected = np.full(rows, np.nan)
    for t in range(29, rows):
        expected[t] = adx[t] - 2 * adx[t - 1] + adx[t - 2]
    np.testing.assert_allclose(
        column(raw_indicators(panel)[:, 2], "trend_reacceleration"), expected, rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("price", [3e-9, 0.1, 66_666.66, 6e7])
def test_prices_that_never_move_give_the_defined_values(make_panel, price):
    flat = {name: np.full((700, 3), price) for name in ("open", "high", "low", "close")}
    panel = replace(make_panel(rows=700), **flat, volume=np.zeros((700, 3)))
    last = raw_indicators(panel)[WARM_UP_BARS:]
    for name, value in (
        ("rsi", 50),
        ("cci", 0),
        ("dx", 0),
        ("macd", 0),
        ("atr_regime_shift", 0),
        ("trend_reacceleration", 0),
    ):
        np.testing.assert_allclose(column(last, name), value, atol=1e-12)
    np.testing.assert_array_equal(column(last, "range_breakout_volume"), 0.0)
    assert np.isfinite(latest_features(panel)[WARM_UP_BARS:]).all()


@pytest.mark.parametrize("price", [3e-9, 1.0, 6e7])
def test_a_market_that_stops_and_starts_again_stays_finite(make_panel, price):
    moving = make_panel(rows=2000, tickers=("BTC",))
    bars = {name: getattr(moving, name) * price / moving.close[0, 0] for name in ("open", "high", "low", "close")}
    stopped_at = bars["close"][499].copy()
    for values in bars.values():
        values[500:1400] = stopped_at
    volume = moving.volume.copy()
    volume[500:1400] = 0.0
    features = latest_features(replace(moving, **bars, volume=volume))
    assert np.isfinite(features[WARM_UP_BARS:]).all()


def test_a_tiny_volume_after_none_is_finite_and_a_huge_one_leaves_no_residue(make_panel):
    panel = make_panel(rows=800, tickers=("BTC",))
    volume = panel.volume.copy()
    volume[400], volume[401:700], volume[700:] = 1e18, 0.0, 5e-324
    panel = replace(panel, volume=volume)
    assert np.isfinite(latest_features(panel)[WARM_UP_BARS:]).all()
    np.testing.assert_array_equal(column(raw_indicators(panel), "range_breakout_volume")[421:700], 0.0)


def test_every_indicator_is_nan_before_it_has_seen_enough_bars_and_finite_after(panel):
    raw = raw_indicators(panel)
    for name in FEATURES[5:]:
        finite = np.isfinite(column(raw, name)).all(axis=1)
        first = int(finite.argmax())
        assert 13 <= first <= 63
        assert finite[first:].all()


def test_permuting_the_tickers_permutes_the_features(panel):
    order = [2, 0, 1]
    fields = ("open", "high", "low", "close", "volume", "is_filled")
    universe = panel.universe.model_copy(update={"tickers": tuple(panel.universe.tickers[n] for n in order)})
    permuted = replace(panel, universe=universe, **{name: getattr(panel, name)[:, order] for name in fields})
    np.testing.assert_array_equal(latest_features(permuted), latest_features(panel)[:, order])


@pytest.mark.parametrize("rows", [0, 1, 5, 24])
def test_a_short_panel_has_the_right_shape_and_no_indicator_yet(make_panel, rows):
    features = latest_features(make_panel(rows=rows))
    assert features.shape == (rows, 3, 14)
    assert np.isnan(features[..., FEATURES.index("macd")]).all()


@pytest.mark.parametrize(
    ("name", "value"), [("close", np.nan), ("low", 0.0), ("open", -1.0), ("high", np.inf), ("volume", -1.0)]
)
def test_an_impossible_bar_is_refused_by_name(make_panel, name, value):
    panel = make_panel(rows=50)
    values = getattr(panel, name).copy()
    values[7, 1] = value
    with pytest.raises(DataError, match=f"{name} of ETH-USD at 2024-01-01T07:00"):
        raw_indicators(replace(panel, **{name: values}))


def test_a_panel_with_arrays_of_unequal_shape_is_refused(panel):
    with pytest.raises(DataError, match="volume of the bar panel has shape"):
        raw_indicators(replace(panel, volume=panel.volume[:-1]))
