"""4h and 1d bars are what their hours make them, begin at 00:00 UTC, and come out only when they are whole."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.bars import (
    BarSource,
    FilesSource,
    SimulatedSource,
    Universe,
    align,
    audit_bars,
    bars_table,
    ingest_month,
)
from cappuccino_ml.bars.aggregate import BuiltFromHours, aggregate
from cappuccino_ml.bars.files import files_source
from cappuccino_ml.core import ConfigurationError, DataError

from .vendor_files import bars, binance, freqtrade, of, same

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
DAILY, FOUR = Universe(tickers=("BTC", "ETH"), timeframe="1d"), Universe(tickers=("BTC", "ETH"), timeframe="4h")
RULES = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def oracle(frame: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    groups = frame.set_index("timestamp").resample(of(timeframe).bar, origin="epoch")
    return groups.agg(RULES)[groups.size() > 0].reset_index()


def close_to(one: pd.DataFrame, other: pd.DataFrame) -> None:
    # Prices are picked, so they are equal; a sum of up to 288 volumes may differ in its last bits.
    pd.testing.assert_frame_equal(one.drop(columns="volume"), other.drop(columns="volume"), check_exact=True)
    np.testing.assert_allclose(one["volume"], other["volume"], rtol=1e-13)


class Scripted:
    """A market with hours of its own making, which counts what it is asked for and may send too much, unordered."""

    name = "scripted"
    label = "scripted"

    def __init__(self, frame: pd.DataFrame, *, end: datetime | None = None, margin: timedelta = timedelta(0)) -> None:
        self.frame = frame
        self.end = end
        self.margin = margin
        self.asked: list[tuple[str, datetime, datetime]] = []

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def coverage(self, universe: Universe) -> tuple[datetime, datetime | None]:
        return self.frame["timestamp"].iloc[0].to_pydatetime(), self.end

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        self.asked.append((universe.timeframe, start, end))
        sent = (self.frame["timestamp"] >= start - self.margin) & (self.frame["timestamp"] < end + self.margin)
        return self.frame[sent].sample(frac=1, random_state=1)


def fetch(source: BarSource, universe: Universe, start: datetime = START, end: datetime = END) -> pd.DataFrame:
    return source.fetch(symbol="BTC-USD", universe=universe, start=start, end=end)


@settings(max_examples=60)
@given(
    timeframe=st.sampled_from(["4h", "1d"]),
    freq=st.sampled_from(["5min", "15min", "1h"]),
    first=st.integers(0, 400),
    holes=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 120)), max_size=8),
    seed=st.integers(0, 99),
)
def test_long_bars_are_what_pandas_makes_of_the_same_holes(
    timeframe: str, freq: str, first: int, holes: list[tuple[int, int]], seed: int
):
    start = pd.Timestamp("2023-12-30") + first * pd.Timedelta(freq)
    frame = bars(str(start), 400, freq=freq, seed=seed)
    missing = {row for begin, length in holes for row in range(begin, begin + length)}
    kept = frame.drop(index=list(missing & set(range(400)))).reset_index(drop=True)
    made = aggregate(kept, of(timeframe))
    if kept.empty:
        assert made.empty
        assert list(made.columns) == list(frame.columns)
        return
    close_to(made, oracle(kept, timeframe))
    assert str(made["timestamp"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize("universe", [DAILY, FOUR], ids=["1d", "4h"])
def test_the_simulated_market_has_long_bars_that_begin_at_midnight_utc(universe: Universe):
    market = SimulatedSource(start=START, end=END)
    built = BuiltFromHours(market)
    assert built.coverage(universe) == (START, END)
    assert (built.name, built.label) == (market.name, market.label)
    frames = []
    for symbol in universe.symbols:
        hours = market.fetch(symbol=symbol, universe=Universe(), start=START, end=END)
        made = built.fetch(symbol=symbol, universe=universe, start=START, end=END)
        close_to(made, oracle(hours, universe.timeframe))
        assert set(made["timestamp"].dt.hour) == ({0} if universe is DAILY else {0, 4, 8, 12, 16, 20})
        frames.append(made.assign(symbol=symbol))
    frame = pd.concat(frames, ignore_index=True)
    assert audit_bars(frame, universe).passed
    assert len(align(frame, universe)) == (END - START) // universe.bar


@pytest.mark.parametrize("universe", [DAILY, FOUR], ids=["1d", "4h"])
@pytest.mark.parametrize("hours", [0, 1, 7, 29])
def test_only_bars_that_lie_wholly_inside_the_range_come_out(universe: Universe, hours: int):
    market = Scripted(bars(rows=24 * 60), margin=timedelta(hours=7))
    built = BuiltFromHours(market)
    whole = aggregate(market.frame, universe)
    start, end = START + timedelta(hours=hours), START + timedelta(days=9, hours=hours, minutes=59)
    inside = (whole["timestamp"] >= start) & (whole["timestamp"] + universe.bar <= end)
    same(fetch(built, universe, start, end), whole[inside])
    asked = market.asked[-1]
    assert asked[0] == "1h"
    assert asked[1:] == (whole["timestamp"][inside].min(), whole["timestamp"][inside].max() + universe.bar)
    assert fetch(built, universe, end - universe.bar + timedelta(minutes=1), end).empty
    assert fetch(built, universe, end, start).empty
    assert len(market.asked) == 1


def test_an_unfinished_bar_never_comes_out():
    market = Scripted(bars(rows=24 * 5 + 13))
    made = fetch(BuiltFromHours(market), DAILY, START, START + timedelta(days=5, hours=13))
    assert made["timestamp"].iloc[-1] == pd.Timestamp("2024-01-05", tz="UTC")
    same(made, aggregate(market.frame.iloc[: 24 * 5], DAILY))


def test_a_range_is_the_sum_of_its_parts_to_the_last_bit():
    built = BuiltFromHours(SimulatedSource(start=START, end=END))
    cut = START + timedelta(days=17)
    parts = [fetch(built, DAILY, START, cut), fetch(built, DAILY, cut, END)]
    same(pd.concat(parts, ignore_index=True), fetch(built, DAILY))


def test_a_bar_with_hours_missing_is_made_of_the_others_and_one_without_any_is_absent():
    frame = bars(rows=72)
    kept = frame.drop(index=[*range(2), *range(20, 49)])
    made = fetch(BuiltFromHours(Scripted(kept)), DAILY)
    assert list(made["timestamp"].dt.day) == [1, 3]
    assert made["open"].tolist() == [frame["open"][2], frame["open"][49]]
    assert made["close"].tolist() == [frame["close"][19], frame["close"][71]]
    assert made["high"].tolist() == [frame["high"][2:20].max(), frame["high"][49:].max()]


@pytest.mark.parametrize("hours", [range(25, 32), range(25, 48), range(24, 38, 2)], ids=["in a row", "23", "scattered"])
def test_a_day_that_lacks_more_hours_than_may_be_filled_is_absent_and_fails_the_audit(hours: range):
    frame = bars(rows=24 * 5)
    kept = frame.drop(index=list(hours))
    made = pd.concat([fetch(BuiltFromHours(Scripted(kept)), DAILY).assign(symbol=symbol) for symbol in DAILY.symbols])
    assert sorted(set(made["timestamp"].dt.day)) == [1, 3, 4, 5]
    report = audit_bars(made, DAILY)
    assert not report.passed
    assert [(outage.first.day, outage.bars) for outage in report.outages] == [(2, 1)]
    one_more = frame.drop(index=list(hours)[-6:])
    same(fetch(BuiltFromHours(Scripted(one_more)), DAILY), aggregate(one_more, DAILY))
    assert len(aggregate(one_more, DAILY)) == 5


def test_four_hours_need_one_of_their_hours():
    frame = bars(rows=24)
    kept = frame.drop(index=[1, 2, 3, 4, 5, 6, 8, 9, 10, 11])
    made = fetch(BuiltFromHours(Scripted(kept)), FOUR)
    assert list(made["timestamp"].dt.hour) == [0, 4, 12, 16, 20]
    assert made["close"].tolist()[:2] == [frame["close"][0], frame["close"][7]]


def test_the_coverage_is_rounded_inward_and_an_open_end_stays_open():
    first = START + timedelta(hours=5)
    market = Scripted(bars("2024-01-01T05:00", 100), end=START + timedelta(days=4, hours=9))
    built = BuiltFromHours(market)
    assert built.coverage(FOUR) == (START + timedelta(hours=8), START + timedelta(days=4, hours=8))
    assert built.coverage(DAILY) == (START + timedelta(days=1), START + timedelta(days=4))
    market.end = None
    assert built.coverage(DAILY) == (START + timedelta(days=1), None)
    market.end = first + timedelta(hours=20)
    with pytest.raises(DataError, match="from 2024-01-01T05:00Z to 2024-01-02T01:00Z hold no whole 1d bar; supply"):
        built.coverage(DAILY)


def test_other_timeframes_pass_through_and_the_identity_tells_built_bars():
    market = SimulatedSource(start=START, end=END)
    built = BuiltFromHours(market)
    same(fetch(built, Universe()), fetch(market, Universe()))
    assert built.coverage(Universe()) == (START, END)
    with pytest.raises(ConfigurationError, match="5m"):
        fetch(built, Universe(timeframe="5m"))
    assert built.identity() == {**market.identity(), "built_from": "1h"}


def test_an_ingest_in_the_middle_of_a_day_stores_whole_days_only(tmp_path: Path):
    source = BuiltFromHours(SimulatedSource(start=START, end=END))
    table = bars_table(tmp_path, source=source, universe=DAILY)
    facts = ingest_month(source, table, DAILY, "2024-02", now=datetime(2024, 2, 11, 13, 37, tzinfo=UTC))
    assert facts["rows_by_symbol"] == {"BTC-USD": 10, "ETH-USD": 10}
    facts = ingest_month(source, table, DAILY, "2024-02", now=END)
    assert facts["rows_by_symbol"] == {"BTC-USD": 29, "ETH-USD": 29}
    assert facts["revisions"] == 0


def test_a_folder_with_long_bars_on_the_grid_is_read_as_it_is(tmp_path: Path):
    universe = of("4h", "BTC", "ETH")
    native = bars(freq="4h", seed=5)
    freqtrade(tmp_path / "BTC_USDT-4h.feather", native)
    native.to_csv(tmp_path / "ETH-USDT.csv", index=False)
    freqtrade(tmp_path / "BTC_USDT-1h.feather", bars(rows=200))
    source = files_source(tmp_path, universe, label="mine")
    assert isinstance(source, FilesSource)
    assert source.label == "mine"
    assert set(source.identity()["files"]) == {"BTC_USDT-4h.feather", "ETH-USDT.csv"}
    for symbol in universe.symbols:
        same(source.fetch(symbol=symbol, universe=universe, start=START, end=END), native)


@pytest.mark.parametrize("long_file", [None, "off the grid", "of one symbol"])
def test_a_folder_without_such_bars_gives_those_built_from_its_hours(tmp_path: Path, long_file: str | None):
    universe = of("4h", "BTC", "ETH")
    hours = bars(rows=24 * 20)
    for ticker in universe.tickers:
        binance(tmp_path / f"{ticker}USDT-1h-2024-01.csv", hours)
    for ticker in {None: (), "off the grid": ("BTC", "ETH"), "of one symbol": ("BTC",)}[long_file]:
        offset = "02:00" if long_file == "off the grid" else "00:00"
        freqtrade(tmp_path / f"{ticker}_USDT-4h.feather", bars(f"2024-01-01T{offset}", freq="4h", seed=9))
    source = files_source(tmp_path, universe)
    assert isinstance(source, BuiltFromHours)
    assert source.identity()["built_from"] == "1h"
    assert set(source.identity()["files"]) == {"BTCUSDT-1h", "ETHUSDT-1h"}
    assert source.coverage(universe) == (START, START + timedelta(days=20))
    for symbol in universe.symbols:
        close_to(source.fetch(symbol=symbol, universe=universe, start=START, end=END), oracle(hours, "4h"))


def test_long_bars_off_the_grid_alone_are_an_error_that_says_where_the_grid_is(tmp_path: Path):
    freqtrade(tmp_path / "BTC-USDT.feather", bars("2024-01-01T02:00", freq="4h"))
    with pytest.raises(DataError, match=r"240 minutes apart, not 1h ones; .* at multiples of it from 00:00 UTC"):
        files_source(tmp_path, of("4h")).coverage(of("4h"))
    (tmp_path / "BTC-USDT.feather").rename(tmp_path / "BTC_USDT-4h.feather")
    with pytest.raises(DataError, match=r"02:00Z is off the 4h grid; .* supply bars that open on that grid"):
        files_source(tmp_path, of("4h")).coverage(of("4h"))
