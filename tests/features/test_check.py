"""The feature checker passes our own features and catches what it is there to catch."""

from dataclasses import replace

import numpy as np
import pytest

from cappuccino_ml.features import FEATURES, check_features, latest_features


def test_our_own_features_pass_and_missing_rates_are_those_of_the_warm_up(panel):
    report = check_features(panel)
    assert report.passed, report.findings
    assert report.rows == 1500
    assert tuple(report.missing) == FEATURES
    assert report.missing["volume"] == pytest.approx(167 / 1500)
    assert report.missing["rsi"] == pytest.approx(14 / 1500)


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
    assert kinds(report) == {("not_finite", "BTC", "cci")}
    assert (
        "cci of BTC is not finite in 2 bars after the warm-up, first at 2024-01-17T16:00" in report.findings[0].message
    )


def test_the_old_breakout_that_was_always_zero_is_found_dead(panel):
    def always_zero(bars):
        features = latest_features(bars)
        features[..., 12] *= 0.0
        return features

    assert kinds(check_features(panel, compute=always_zero)) == {
        ("dead", ticker, "range_breakout_volume") for ticker in panel.universe.tickers
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
