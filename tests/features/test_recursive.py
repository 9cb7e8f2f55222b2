"""Bar by bar the features are the whole history's: on walks, standstills, spikes, empty volumes and filled holes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.bars import Universe, align
from cappuccino_ml.core import DataError, SchemaMismatch
from cappuccino_ml.features import CONTEXT_BARS, FEATURES, RecursiveFeatures, latest_features, raw_indicators

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_1h"
PRICES = ("open", "high", "low", "close")
NINE = ("BTC", "ETH", "LTC", "BCH", "LINK", "UNI", "AAVE", "AVAX", "SOL")


def assert_equal_rows(stream, batch):
    np.testing.assert_array_equal(np.isnan(stream), np.isnan(batch))
    # a price that falls to a millionth within a bar makes MACD over price millions: the last bit of those is above 1e-8
    np.testing.assert_allclose(stream, batch, rtol=1e-12, atol=1e-8)


def stand_still(bars, rows, ticker):
    for name in PRICES:
        bars[name][rows, ticker] = bars["close"][max(rows.start - 1, 0), ticker]


def no_volume(bars, rows, ticker):
    bars["volume"][rows, ticker] = 0.0


def spike(factor):
    def apply(bars, rows, ticker):
        bars["high" if factor > 1 else "low"][rows.start, ticker] *= factor
        if rows.stop % 2:
            bars["close"][rows.start, ticker] *= factor
        bars["volume"][rows.start, ticker] *= factor

    return apply


def one_way(factor):
    def apply(bars, rows, ticker):
        steps = factor ** np.arange(len(bars["close"][rows, ticker]))
        for name in PRICES:
            bars[name][rows, ticker] = bars["close"][rows.start, ticker] * steps

    return apply


ACCIDENTS = {
    "standstill": stand_still,
    "no volume": no_volume,
    "spike x100": spike(100.0),
    "spike /100": spike(0.01),
    "only up": one_way(1.001),
    "only down": one_way(0.999),
}


@st.composite
def accidents(draw, *, rows=600, tickers=9):
    """What happens, to which ticker, from where on and for how long."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(ACCIDENTS)),
                st.integers(0, rows - 1),
                st.integers(1, 500),
                st.integers(0, tickers - 1),
            ),
            max_size=6,
        )
    )


def with_accidents(panel, happened):
    bars = {name: getattr(panel, name).copy() for name in (*PRICES, "volume")}
    for kind, first, length, ticker in happened:
        ACCIDENTS[kind](bars, slice(first, min(first + length, len(panel))), ticker % panel.close.shape[1])
    return replace(panel, **bars)


@settings(max_examples=30)
@given(
    happened=accidents(),
    tickers=st.sampled_from([1, 3, 9]),
    seed=st.integers(0, 99),
    level=st.sampled_from([3e-9, 1.0, 6e5]),
)
def test_every_row_equals_the_batch_whatever_happens_on_the_market(make_panel, happened, tickers, seed, level):
    panel = make_panel(rows=600, tickers=NINE[:tickers], seed=seed, filled=0.03 * (seed % 2))
    scaled = {name: getattr(panel, name) * level / 100 for name in PRICES}
    panel = with_accidents(replace(panel, **scaled), happened)
    assert_equal_rows(RecursiveFeatures(panel.universe).extend(panel), latest_features(panel))


@pytest.mark.parametrize("kind", sorted(ACCIDENTS))
@pytest.mark.parametrize("first", [0, 20, 700])
def test_every_row_equals_the_batch_through_each_accident_of_700_bars(make_panel, kind, first):
    panel = with_accidents(make_panel(rows=1600, tickers=NINE[:2]), [(kind, first, 700, 1)])
    assert_equal_rows(RecursiveFeatures(panel.universe).extend(panel), latest_features(panel))


@pytest.mark.parametrize("price", [3e-9, 0.1, 66_666.66, 6e7])
def test_prices_that_never_moved_give_the_batch_to_the_last_bit(make_panel, price):
    flat = {name: np.full((400, 3), price) for name in PRICES}
    panel = replace(make_panel(rows=400), **flat, volume=np.zeros((400, 3)))
    stream = RecursiveFeatures(panel.universe).extend(panel)
    assert_equal_rows(stream, latest_features(panel))
    exact = [FEATURES.index(name) for name in ("rsi", "cci", "dx", "atr_regime_shift", "trend_reacceleration")]
    np.testing.assert_array_equal(stream[..., exact], latest_features(panel)[..., exact])


def test_without_fused_arithmetic_in_the_way_the_values_are_equal_to_the_last_bit(panel):
    stream, batch = RecursiveFeatures(panel.universe).extend(panel), latest_features(panel)
    for name in ("rsi", "cci", "dx", "range_breakout_volume", "trend_reacceleration", "volume", "close"):
        feature = FEATURES.index(name)
        np.testing.assert_array_equal(stream[..., feature], batch[..., feature], err_msg=name)


def test_raw_indicators_are_given_on_request(panel):
    stream, batch = RecursiveFeatures(panel.universe).extend(panel, raw=True), raw_indicators(panel)
    np.testing.assert_array_equal(stream[..., :5], batch[..., :5])
    assert_equal_rows(stream[..., 5:], batch[..., 5:])


@settings(max_examples=15)
@given(missing=st.sets(st.integers(1, 398), max_size=60), seed=st.integers(0, 99))
def test_holes_that_align_filled_are_ordinary_rows(make_panel, missing, seed):
    whole = make_panel(rows=400, tickers=("BTC", "ETH"), seed=seed)
    rows = []
    for column, symbol in enumerate(whole.universe.symbols):
        # BTC misses some hours; ETH, listed later, starts the universe
        keep = [t for t in range(400) if (t not in missing if column == 0 else t >= 30)]
        bars = {name: getattr(whole, name)[keep, column] for name in (*PRICES, "volume")}
        rows.append(pd.DataFrame({"symbol": symbol, "timestamp": whole.timestamps[keep]} | bars))
    frame = pd.concat(rows).assign(timestamp=lambda bars: bars["timestamp"].dt.tz_localize("UTC"))
    panel = align(frame, whole.universe, cap_bars=100)
    assert len(panel) == 370
    assert_equal_rows(RecursiveFeatures(panel.universe).extend(panel), latest_features(panel))


@pytest.mark.skipif(not REAL.exists(), reason="real bars are not on this machine")
def test_real_bars_agree_row_by_row():
    universe = Universe(quote="USDT")
    frames = [pd.read_parquet(REAL / f"{symbol}.parquet").assign(symbol=symbol) for symbol in universe.symbols]
    panel = align(pd.concat(frames), universe)
    panel = panel.slice(len(panel) - 6000, len(panel))
    stream, batch = RecursiveFeatures(universe).extend(panel), latest_features(panel)
    assert_equal_rows(stream, batch)
    assert np.isfinite(stream[-3000:]).all()


@pytest.mark.parametrize("last", [1100, 1357])
def test_started_after_a_window_it_agrees_with_the_whole_history_while_prices_move(panel, last):
    stream = RecursiveFeatures(panel.universe)
    stream.extend(panel.slice(last - CONTEXT_BARS, last))
    assert stream.bars == CONTEXT_BARS
    later = stream.extend(panel.slice(last, 1500))
    np.testing.assert_allclose(later, latest_features(panel)[last:], rtol=0, atol=1e-8)


def test_a_window_that_begins_in_a_standstill_does_not_know_what_came_before(make_panel):
    panel = with_accidents(make_panel(rows=1800, tickers=("BTC",)), [("standstill", 600, 1200, 0)])
    whole = latest_features(panel)[-1, 0]
    windowed = RecursiveFeatures(panel.universe).extend(panel.slice(700, 1800))[-1, 0]
    differs = {name for name, a, b in zip(FEATURES, whole, windowed, strict=True) if abs(a - b) > 1e-8}
    assert differs == {"rsi", "dx", "atr_regime_shift"}


def test_one_bar_at_a_time_and_many_at_once_are_the_same(panel):
    single, many = RecursiveFeatures(panel.universe), RecursiveFeatures(panel.universe)
    rows = np.stack([single.update(panel.slice(t, t + 1)) for t in range(200)])
    assert rows.tobytes() == many.extend(panel.slice(0, 200)).tobytes()
    assert single.bars == many.bars == 200
    assert single.last_bar == panel.timestamps[199]
    assert single.extend(panel.slice(200, 200)).shape == (0, 3, 14)


@pytest.mark.parametrize(("first", "found"), [(21, "21:00Z"), (19, "19:00Z"), (0, "00:00Z")])
def test_a_bar_that_is_not_the_next_one_is_refused_and_changes_nothing(panel, first, found):
    stream = RecursiveFeatures(panel.universe)
    stream.extend(panel.slice(0, 20))
    with pytest.raises(DataError, match=f"{found} is not the next one, which opens at 2024-01-01T20:00Z"):
        stream.update(panel.slice(first, first + 1))
    assert stream.update(panel.slice(20, 21)).tobytes() == latest_features(panel)[20].tobytes()


def test_a_hole_inside_a_panel_is_refused_before_any_row_is_taken_in(panel):
    holed = panel.slice(0, 10)
    times = holed.timestamps.copy()
    times[5:] += np.timedelta64(1, "h")
    stream = RecursiveFeatures(panel.universe)
    with pytest.raises(DataError, match="T06:00Z is not the next one, which opens at 2024-01-01T05:00Z"):
        stream.extend(replace(holed, timestamps=times))
    assert stream.bars == 0


def test_a_first_bar_off_the_grid_is_refused(panel):
    bar = panel.slice(0, 1)
    with pytest.raises(DataError, match="00:20Z, which is off the 1h grid"):
        RecursiveFeatures(panel.universe).update(replace(bar, timestamps=bar.timestamps + np.timedelta64(20, "m")))


def test_more_or_fewer_than_one_bar_are_not_an_update(panel):
    for rows in (0, 2):
        with pytest.raises(DataError, match=f"was given {rows}; use extend"):
            RecursiveFeatures(panel.universe).update(panel.slice(0, rows))


@pytest.mark.parametrize(("name", "value"), [("close", np.nan), ("low", 0.0), ("volume", -1.0)])
def test_an_impossible_bar_is_refused_by_name_and_changes_nothing(panel, name, value):
    stream = RecursiveFeatures(panel.universe)
    stream.extend(panel.slice(0, 30))
    bar = panel.slice(30, 31)
    values = getattr(bar, name).copy()
    values[0, 1] = value
    with pytest.raises(DataError, match=f"{name} of ETH-USD at 2024-01-02T06:00"):
        stream.update(replace(bar, **{name: values}))
    assert stream.update(bar).tobytes() == RecursiveFeatures(panel.universe).extend(panel.slice(0, 31))[-1].tobytes()


def test_bars_of_other_tickers_are_refused_naming_both_sides(panel):
    stream = RecursiveFeatures(Universe(tickers=("ETH", "BTC", "LTC")))
    with pytest.raises(SchemaMismatch, match=r"tickers = BTC, ETH, LTC, .* tickers = ETH, BTC, LTC"):
        stream.extend(panel)
