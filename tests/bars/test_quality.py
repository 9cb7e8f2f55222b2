"""Flags for people: outliers are found and kept, clocks are compared, overdue bars are named."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import (
    FilesSource,
    SimulatedSource,
    Universe,
    align,
    audit_bars,
    compare_clocks,
    find_outliers,
    lateness,
    lateness_text,
)

PAIR = Universe(tickers=("BTC", "ETH"))
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_1h"
REAL_OUTAGES = {
    ("2020-11-30 06:00", 1),
    ("2020-12-21 14:00", 4),
    ("2020-12-25 02:00", 1),
    ("2021-02-11 04:00", 1),
    ("2021-03-06 02:00", 1),
    ("2021-04-20 02:00", 2),
    ("2021-04-25 05:00", 3),
    ("2021-08-13 02:00", 4),
    ("2021-09-29 07:00", 2),
    ("2023-03-24 13:00", 1),
}


@pytest.fixture
def frame() -> pd.DataFrame:
    source = SimulatedSource(start=START, end=END)
    parts = [
        source.fetch(symbol=symbol, universe=PAIR, start=START, end=END).assign(symbol=symbol)
        for symbol in PAIR.symbols
    ]
    return pd.concat(parts, ignore_index=True)


def at(frame: pd.DataFrame, symbol: str, row: int) -> int:
    return int(frame.index[frame["symbol"] == symbol][row])


def test_a_clean_market_has_no_outliers(frame: pd.DataFrame):
    assert find_outliers(frame, PAIR) == []


@pytest.mark.parametrize("row", [3, 400, -3])
def test_a_close_that_jumps_and_comes_back_is_flagged_and_kept(frame: pd.DataFrame, row: int):
    place = at(frame, "ETH-USD", row)
    frame.loc[place, ["open", "high", "low", "close"]] *= 1.5
    before = frame.copy()
    spikes = [outlier for outlier in find_outliers(frame, PAIR) if outlier.kind == "spike"]
    assert frame.loc[place, "timestamp"] in [pd.Timestamp(outlier.at) for outlier in spikes]
    assert {outlier.symbol for outlier in spikes} == {"ETH-USD"}
    assert max(outlier.share for outlier in spikes) == pytest.approx(np.log(1.5), abs=0.05)
    pd.testing.assert_frame_equal(frame, before)
    assert audit_bars(frame, PAIR).passed


def test_a_wick_far_beyond_the_body_is_flagged(frame: pd.DataFrame):
    place = at(frame, "BTC-USD", 500)
    frame.loc[place, "low"] *= 0.7
    flagged = find_outliers(frame.sample(frac=1, random_state=1), PAIR)
    assert [(outlier.symbol, outlier.kind) for outlier in flagged] == [("BTC-USD", "wick")]
    assert pd.Timestamp(flagged[0].at) == frame.loc[place, "timestamp"]


def test_a_level_that_stays_is_no_outlier(frame: pd.DataFrame):
    rows = (frame["symbol"] == "BTC-USD") & (frame["timestamp"] >= pd.Timestamp("2024-02-01", tz="UTC"))
    frame.loc[rows, ["open", "high", "low", "close"]] *= 1.05
    assert [outlier for outlier in find_outliers(frame, PAIR) if outlier.kind == "wick"] == []
    assert len(find_outliers(frame, PAIR)) == 0


def test_prices_that_stand_still_are_no_outliers():
    stamps = pd.date_range("2024-01-01", periods=400, freq="h", tz="UTC").astype("datetime64[us, UTC]")
    flat = pd.DataFrame({"symbol": "BTC-USD", "timestamp": stamps, "volume": 0.0})
    flat = flat.assign(**dict.fromkeys(("open", "high", "low", "close"), 5.0))
    assert find_outliers(flat, Universe(tickers=("BTC",))) == []
    flat.loc[200, "high"] = 7.0
    (outlier,) = find_outliers(flat, Universe(tickers=("BTC",)))
    assert (outlier.kind, outlier.spreads) == ("wick", float("inf"))


@pytest.mark.parametrize("lag", [-2, -1, 1, 3])
def test_a_symbol_whose_times_are_shifted_stands_out(frame: pd.DataFrame, lag: int):
    assert not any(shift.suspicious for shift in compare_clocks(align(frame, PAIR)))
    mine = frame["symbol"] == "ETH-USD"
    frame.loc[mine, "timestamp"] = frame.loc[mine, "timestamp"] + pd.Timedelta(hours=lag)
    shifted = {shift.symbol: shift for shift in compare_clocks(align(frame, PAIR))}
    assert shifted["ETH-USD"].suspicious
    assert shifted["ETH-USD"].best_lag == lag


def test_bars_that_one_symbol_lacks_and_another_has_are_counted(frame: pd.DataFrame):
    base = {shift.symbol: shift.partial_bars for shift in compare_clocks(align(frame, PAIR))}
    holes = [at(frame, "BTC-USD", row) for row in (700, 701, 800)]
    fewer = {shift.symbol: shift.partial_bars for shift in compare_clocks(align(frame.drop(index=holes), PAIR))}
    assert fewer["BTC-USD"] == base["BTC-USD"] + 3
    assert fewer["ETH-USD"] == base["ETH-USD"]


def test_one_symbol_or_few_bars_cannot_be_compared(frame: pd.DataFrame):
    alone = Universe(tickers=("BTC",))
    assert compare_clocks(align(frame[frame["symbol"] == "BTC-USD"], alone)) == []
    assert compare_clocks(align(frame, PAIR).slice(0, 100)) == []


@pytest.mark.parametrize(("hours", "behind"), [(0, 0), (0.99, 0), (1, 1), (30, 30)])
def test_overdue_bars_are_counted_from_the_newest_closed_one(frame: pd.DataFrame, hours: float, behind: int):
    late = lateness(frame, PAIR, now=END + timedelta(hours=hours), end=None)
    assert [one.behind_bars for one in late] == [behind, behind]


def test_a_source_that_has_ended_is_never_overdue(frame: pd.DataFrame):
    late = lateness(frame, PAIR, now=END + timedelta(days=400), end=END)
    assert [one.behind_bars for one in late] == [0, 0]


def test_one_symbol_that_stopped_is_named(frame: pd.DataFrame):
    stopped = frame[(frame["symbol"] == "BTC-USD") | (frame["timestamp"] < pd.Timestamp("2024-02-20", tz="UTC"))]
    late = {one.symbol: one for one in lateness(stopped, PAIR, now=END, end=None)}
    assert late["BTC-USD"].behind_bars == 0
    assert late["ETH-USD"].behind_bars == 10 * 24
    assert "bars for ETH-USD stop at 2024-02-19T23:00Z, 240 closed bars ago" in lateness_text(late["ETH-USD"])
    nothing = lateness(stopped[stopped["symbol"] == "BTC-USD"], PAIR, now=END, end=None)[1]
    assert nothing.newest is None
    assert nothing.behind_bars == 60 * 24
    assert "no bars at all" in lateness_text(nothing)


def test_the_audit_groups_holes_of_several_symbols_into_outages(frame: pd.DataFrame):
    before = audit_bars(frame, PAIR).outages
    hours = [pd.Timestamp("2024-02-11T09:00", tz="UTC"), pd.Timestamp("2024-02-11T10:00", tz="UTC")]
    everyone = frame[~frame["timestamp"].isin(hours)]
    (outage,) = [one for one in audit_bars(everyone, PAIR).outages if one not in before]
    assert (outage.first, outage.bars, outage.symbols) == (hours[0].to_pydatetime(), 2, ("BTC-USD", "ETH-USD"))
    one = frame[~((frame["symbol"] == "ETH-USD") & frame["timestamp"].isin(hours))]
    (outage,) = [hole for hole in audit_bars(one, PAIR).outages if hole not in before]
    assert outage.symbols == ("ETH-USD",)


@pytest.mark.skipif(not REAL.is_dir(), reason="real bars are not part of the repository")
def test_real_bars_have_exactly_the_known_outages_and_real_crashes_are_flagged():
    universe = Universe(quote="USDT")
    source = FilesSource(REAL)
    start, end = source.coverage(universe)
    assert end is not None
    fetched = [
        source.fetch(symbol=symbol, universe=universe, start=start, end=end).assign(symbol=symbol)
        for symbol in universe.symbols
    ]
    frame = pd.concat(fetched, ignore_index=True)
    outages = audit_bars(frame, universe).outages
    assert {(f"{outage.first:%Y-%m-%d %H:%M}", outage.bars) for outage in outages} == REAL_OUTAGES
    assert {outage.symbols for outage in outages} == {universe.symbols}
    assert sum(outage.bars for outage in outages) == 20
    flagged = find_outliers(frame, universe)
    assert 10 <= len(flagged) <= 100
    # Two days on which everybody looked: the Litecoin hoax and the flash crash.
    assert {"2021-09-13", "2021-12-04"} <= {f"{outlier.at:%Y-%m-%d}" for outlier in flagged}
    assert not any(shift.suspicious for shift in compare_clocks(align(frame, universe)))
    assert {late.behind_bars for late in lateness(frame, universe, now=datetime.now(UTC), end=end)} == {0}
