"""The feature checker passes our own features and catches what it is there to catch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import Universe, align
from cappuccino_ml.features import (
    FEATURES,
    WARM_UP_BARS,
    FeatureSchema,
    Scaler,
    check_features,
    check_scaler,
    latest_features,
)

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_1h"


def test_our_own_features_pass_and_missing_rates_are_those_of_the_warm_up(panel):
    report = check_features(panel)
    assert report.passed, report.findings
    assert report.rows == 1500
    assert tuple(report.missing) == FEATURES
    assert report.missing["volume"] == pytest.approx(167 / 1500)
    assert report.missing["rsi"] == pytest.approx(14 / 1500)
    assert tuple(report.outliers) == FEATURES
    assert max(report.outliers.values()) < 0.01
    assert (report.causality_rows, report.recursive_rows, report.scaler_rows) == (1500, 1500, 720)


def kinds(report):
    return {(finding.kind, finding.ticker, finding.feature) for finding in report.findings}


def test_a_feature_that_sees_one_bar_ahead_is_caught_by_poisoning_and_by_replay(panel):
    def leaking(bars):
        features = latest_features(bars)
        features[:-1, 1, 8] = features[1:, 1, 8]
        return features

    assert kinds(check_features(panel, compute=leaking)) == {
        ("sees_the_future", "ETH", "rsi"),
        ("replay_differs", "ETH", "rsi"),
        ("recursive_differs", "ETH", "rsi"),
    }


def test_a_feature_scaled_by_its_whole_history_is_caught(panel):
    def leaking(bars):
        features = latest_features(bars)
        features[..., 10] /= np.nanstd(features[..., 10])
        return features

    assert ("sees_the_future", "BTC", "dx") in kinds(check_features(panel, compute=leaking))


def test_a_hole_after_the_warm_up_is_found_with_its_time(panel):
    def holed(bars):
        features = latest_features(bars)
        features[400:402, 0, 9] = np.nan
        return features

    report = check_features(panel, compute=holed)
    assert kinds(report) == {("not_finite", "BTC", "cci"), ("recursive_differs", "BTC", "cci")}
    assert (
        "cci of BTC is not finite in 2 bars after the warm-up, first at 2024-01-17T16:00" in report.findings[0].message
    )


def test_the_old_breakout_that_was_always_zero_is_found_dead(panel):
    def always_zero(bars):
        features = latest_features(bars)
        features[..., 12] *= 0.0
        return features

    assert kinds(check_features(panel, compute=always_zero)) == {
        (kind, ticker, "range_breakout_volume")
        for kind in ("dead", "recursive_differs")
        for ticker in panel.universe.tickers
    }


def test_a_ticker_that_was_never_traded_is_found_dead(panel):
    volume = panel.volume.copy()
    volume[:, 2] = 0.0
    assert kinds(check_features(replace(panel, volume=volume))) == {
        ("dead", "LTC", "volume"),
        ("dead", "LTC", "range_breakout_volume"),
    }


@pytest.mark.parametrize("rows", [0, 10, 301])
def test_too_few_bars_do_not_pass(make_panel, rows):
    assert kinds(check_features(make_panel(rows=rows))) == {("too_short", "", "")}


def test_the_recursive_form_must_agree_to_1e_8(panel):
    def off_by(difference):
        def compute(bars):
            features = latest_features(bars)
            features[1400:, 2, 5] += difference
            return features

        return compute

    assert check_features(panel, compute=off_by(5e-9)).passed
    report = check_features(panel, compute=off_by(5e-8))
    assert kinds(report) == {("recursive_differs", "LTC", "macd")}
    assert "in 100 of 1500 bars, first at 2024-02-28T08:00" in report.findings[0].message


def test_a_feature_that_rests_for_a_month_while_the_market_moves_is_found_stuck(make_panel):
    def stuck(bars):
        features = latest_features(bars)
        features[400:1200, 1, 8] = 50.0
        return features

    panel = make_panel(rows=1400)
    report = check_features(panel, compute=stuck)
    assert ("stuck", "ETH", "rsi") in kinds(report)
    assert "rsi of ETH is 50 in 800 bars from 2024-01-17T16:00" in report.findings[0].message
    assert "100% of the closes move" in report.findings[0].message


def test_a_market_that_rests_for_a_month_itself_passes(make_panel):
    panel = make_panel(rows=2400)
    still = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close")}
    last = still["close"][799].copy()
    for values in still.values():
        values[800:1700] = last
    assert check_features(replace(panel, **still)).passed


def test_a_scaler_that_looks_beyond_its_training_rows_is_caught(panel):
    def fit_on_all(x, rows, **options):
        return Scaler.fit(x, slice(WARM_UP_BARS, None), **options)

    report = check_features(panel, fit=fit_on_all)
    assert {kind for kind, _, _ in kinds(report)} == {"scaler_sees_other_rows"}
    assert len(report.findings) == len(FEATURES) * 3


def test_a_stored_scaler_is_checked_against_the_training_rows_it_claims(panel):
    features, schema = latest_features(panel), FeatureSchema.of(panel.universe)
    train = np.arange(len(panel)) % 2 == 0
    train[:WARM_UP_BARS] = False
    assert check_scaler(Scaler.fit(features, train, clip=4.0), features, train, schema=schema) == ()
    wider = Scaler.fit(features, slice(WARM_UP_BARS, 1000))
    found = check_scaler(wider, features, slice(WARM_UP_BARS, 900), schema=schema)
    assert {finding.kind for finding in found} == {"scaler_sees_other_rows"}
    assert "with the 900 rows outside the training rows replaced by garbage" in found[0].message


def test_a_stored_table_of_another_schema_is_found_naming_both_sides(panel):
    schema = FeatureSchema.of(panel.universe)
    assert check_features(panel, stored=schema).passed
    other = schema.model_copy(update={"version": "0"})
    report = check_features(panel, stored=other)
    assert kinds(report) == {("other_schema", "", "")}
    assert schema.hash in report.findings[0].message
    assert other.hash in report.findings[0].message


def test_outliers_are_counted_per_feature_and_are_no_findings(panel):
    high = panel.high.copy()
    high[500:1500:100, 0] *= 5
    report = check_features(replace(panel, high=high))
    assert report.passed
    assert report.outliers["high"] == pytest.approx(10 / (3 * 1200))
    assert report.outliers["low"] == 0


def test_long_histories_are_replayed_in_their_newest_bars_only(make_panel):
    panel, computed = make_panel(rows=3000), []

    def counting(bars):
        computed.append(len(bars))
        return latest_features(bars)

    report = check_features(panel, compute=counting, causality_bars=800)
    assert report.passed
    assert (report.rows, report.causality_rows, report.recursive_rows) == (3000, 800, 2000)
    assert sorted(computed, reverse=True)[:2] == [3000, 2000]
    assert max(sorted(computed)[:-2]) == 800


def test_a_leak_in_the_newest_bars_of_a_long_history_is_caught(make_panel):
    def leaking(bars):
        features = latest_features(bars)
        features[:-1, 0, 9] = features[1:, 0, 9]
        return features

    report = check_features(make_panel(rows=3000), compute=leaking, causality_bars=800)
    assert ("sees_the_future", "BTC", "cci") in kinds(report)
    assert ("replay_differs", "BTC", "cci") in kinds(report)


@pytest.mark.skipif(not REAL.exists(), reason="real bars are not on this machine")
def test_real_bars_have_no_dead_column_and_pass():
    universe = Universe(quote="USDT")
    frames = [pd.read_parquet(REAL / f"{symbol}.parquet").assign(symbol=symbol) for symbol in universe.symbols]
    report = check_features(align(pd.concat(frames), universe))
    assert report.findings == ()
    assert report.rows > 23_000
    assert max(report.outliers.values()) < 0.01
