"""Bars meet on one grid by their time, and the audit says what is wrong with them."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.bars import Universe, align, audit_bars
from cappuccino_ml.core import DataError

PAIR = Universe(tickers=("AAA", "BBB"))


def bars(symbol: str, hours: list[int], level: float = 100.0) -> pd.DataFrame:
    close = np.asarray(hours, dtype=float) + level
    stamps = pd.Timestamp("2024-01-01", tz="UTC").as_unit("us") + pd.to_timedelta(hours, unit="h")
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": close}
    return pd.DataFrame({"symbol": symbol, "timestamp": pd.Series(stamps), **values})


def both(first: list[int], second: list[int]) -> pd.DataFrame:
    return pd.concat([bars("AAA-USD", first), bars("BBB-USD", second, 500.0)], ignore_index=True)


def hours_but(count: int, *missing: int) -> list[int]:
    return [hour for hour in range(count) if hour not in missing]


def kinds(frame: pd.DataFrame) -> set[tuple[str, str]]:
    return {(finding.kind, finding.severity) for finding in audit_bars(frame, PAIR).findings}


gaps = st.sets(st.integers(1, 38), max_size=5)


@settings(max_examples=25)
@given(first=gaps, second=gaps, seed=st.integers(0, 99))
def test_rows_are_joined_by_time_whatever_their_order_and_holes(first: set[int], second: set[int], seed: int):
    frame = both(hours_but(40, *first), hours_but(40, *second)).sample(frac=1, random_state=seed)
    panel = align(frame, PAIR)
    assert len(panel) == 40
    for column, (missing, level) in enumerate(((first, 100.0), (second, 500.0))):
        for hour in range(40):
            is_missing = hour in missing
            known = max(other for other in range(hour + 1) if other not in missing)
            assert panel.is_filled[hour, column] == is_missing
            assert panel.close[hour, column] == level + known
            assert panel.volume[hour, column] == (0.0 if is_missing else level + known)
            assert panel.open[hour, column] == level + known
            assert panel.high[hour, column] == level + known + (0 if is_missing else 1)
    assert panel.timestamps[7] == np.datetime64("2024-01-01T07:00", "us")


def test_a_hole_of_six_hours_is_filled_and_one_of_seven_is_an_error_that_says_where():
    assert align(both(list(range(40)), hours_but(40, *range(10, 16))), PAIR).is_filled.sum() == 6
    with pytest.raises(DataError, match=r"BBB-USD has no bars for 7 bars from 2024-01-01T10:00Z, more than the 6"):
        align(both(list(range(40)), hours_but(40, *range(10, 17))), PAIR)


def test_an_outage_of_the_whole_market_is_filled_for_all():
    panel = align(both(hours_but(40, 5, 6), hours_but(40, 5, 6)), PAIR)
    assert panel.is_filled[5:7].all()
    assert panel.is_filled.sum() == 4


def test_a_symbol_listed_late_starts_the_universe_and_the_audit_says_so():
    frame = both(hours_but(40, *range(3, 12)), list(range(20, 40)))
    panel = align(frame, PAIR)
    assert len(panel) == 20
    assert panel.timestamps[0] == np.datetime64("2024-01-01T20:00", "us")
    report = audit_bars(frame, PAIR)
    assert report.passed
    assert ("listed_late", "warn") in kinds(frame)
    assert report.first == datetime(2024, 1, 1, 20, tzinfo=UTC)
    assert "BBB-USD begins at 2024-01-01T20:00Z, 20 bars after" in " ".join(f.message for f in report.findings)


def test_of_a_repeated_row_the_last_counts_on_the_grid_and_the_audit_refuses_it():
    frame = pd.concat([both(list(range(40)), list(range(40))), bars("AAA-USD", [7], level=900.0)], ignore_index=True)
    assert align(frame, PAIR).close[7, 0] == 907.0
    assert ("duplicate", "error") in kinds(frame)


def test_start_and_end_cut_the_panel():
    frame = both(list(range(40)), list(range(40)))
    panel = align(frame, PAIR, start=datetime(2024, 1, 1, 5, tzinfo=UTC), end=datetime(2024, 1, 1, 9, tzinfo=UTC))
    assert (len(panel), panel.close[0, 0], panel.close[-1, 1]) == (4, 105.0, 508.0)


def test_the_columns_follow_the_universe_not_the_rows():
    panel = align(both(list(range(4)), list(range(4))), Universe(tickers=("BBB", "AAA")))
    assert panel.close[0].tolist() == [500.0, 100.0]


def test_bars_off_the_grid_and_symbols_without_bars_are_errors():
    frame = both(list(range(40)), list(range(40)))
    frame.loc[3, "timestamp"] += pd.Timedelta(minutes=5)
    with pytest.raises(DataError, match=r"AAA-USD at 2024-01-01T03:05Z is off the 1h grid"):
        align(frame, PAIR)
    assert ("off_grid", "error") in kinds(frame)
    with pytest.raises(DataError, match="no bars for BBB-USD"):
        align(bars("AAA-USD", [0, 1]), PAIR)
    assert ("absent", "error") in kinds(bars("AAA-USD", [0, 1]))


def test_clean_bars_pass_without_a_word():
    report = audit_bars(both(list(range(40)), list(range(40))), PAIR)
    assert report.passed
    assert report.findings == []
    assert report.rows == {"AAA-USD": 40, "BBB-USD": 40}
    assert report.filled == {"AAA-USD": 0, "BBB-USD": 0}


def test_the_audit_counts_what_the_grid_fills():
    frame = both(hours_but(40, 5, 6, 20), list(range(38)))
    report = audit_bars(frame, PAIR)
    panel = align(frame, PAIR)
    assert report.passed
    assert list(report.filled.values()) == panel.is_filled.sum(axis=0).tolist() == [3, 2]
    assert kinds(frame) == {("hole", "info"), ("behind", "warn")}


def test_holes_beyond_the_cap_and_symbols_that_stop_early_fail():
    long_hole = both(hours_but(40, *range(10, 17)), list(range(40)))
    (error,) = audit_bars(long_hole, PAIR).errors
    assert (error.symbol, error.kind, error.bars) == ("AAA-USD", "hole", 7)
    assert error.first == datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert "start the range after the hole" in error.message
    assert audit_bars(long_hole, PAIR, cap_bars=7).passed
    (error,) = audit_bars(both(list(range(40)), list(range(33))), PAIR).errors
    assert (error.kind, error.bars) == ("behind", 7)
    assert "BBB-USD stop at 2024-01-02T08:00Z, 7 bars behind the others" in error.message


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("high", 50.0, "inconsistent"),
        ("low", 150.0, "inconsistent"),
        ("close", 0.0, "not_positive"),
        ("volume", -1.0, "not_positive"),
        ("open", np.nan, "not_finite"),
        ("volume", np.inf, "not_finite"),
    ],
)
def test_impossible_values_are_errors(column: str, value: float, kind: str):
    frame = both(list(range(40)), list(range(40)))
    frame.loc[4, column] = value
    report = audit_bars(frame, PAIR)
    assert not report.passed
    assert kind in {finding.kind for finding in report.errors}
    assert all("2024-01-01T04:00Z" in finding.message for finding in report.errors)


def test_a_bar_without_trades_is_normal():
    frame = both(list(range(40)), list(range(40)))
    frame.loc[4, "volume"] = 0.0
    report = audit_bars(frame, PAIR)
    assert report.passed
    assert report.zero_volume == {"AAA-USD": 1, "BBB-USD": 0}
    assert not align(frame, PAIR).is_filled.any()
