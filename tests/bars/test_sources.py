"""One suite for every source: what a source promises, whoever it is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lookalikes.alpaca import AlpacaLookAlike
from lookalikes.binance import Binance
from lookalikes.coinbase import Coinbase
from lookalikes.kraken import Kraken
from lookalikes.server import LookAlike
from lookalikes.simulated_market import SimulatedMarket

from cappuccino_ml.bars import BarSource, FilesSource, SimulatedSource, Universe, align, audit_bars
from cappuccino_ml.bars.alpaca_source import AlpacaSource
from cappuccino_ml.bars.ccxt_source import CcxtSource
from cappuccino_ml.core import ConfigurationError, DataError, ManualClock, canonical_json

PAIR = Universe(tickers=("BTC", "ETH"))
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_1h"
# 672 hours: inside the 720 that kraken keeps.
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 29, tzinfo=UTC)
NOW = END + timedelta(minutes=30)  # on the exchanges the bar that opened at END is half-formed


def simulated(folder: Path, stack: ExitStack) -> BarSource:
    return SimulatedSource(start=START, end=END)


def files(folder: Path, stack: ExitStack) -> BarSource:
    source = simulated(folder, stack)
    for symbol, path in zip(PAIR.symbols, ("BTC-USD.parquet", "ethusd.csv"), strict=True):
        bars = source.fetch(symbol=symbol, universe=PAIR, start=START, end=END)
        bars = pd.concat([bars.sample(frac=1, random_state=1), bars.iloc[:5]])  # unordered, a page repeated
        if path.endswith("csv"):
            bars.to_csv(folder / path, index=False)
        else:
            bars.to_parquet(folder / path, index=False)
    return FilesSource(folder)


def ccxt(exchange: str, venue: type[LookAlike]) -> Callable[[Path, ExitStack], BarSource]:
    def make(folder: Path, stack: ExitStack) -> BarSource:
        url = stack.enter_context(venue(SimulatedMarket(now=NOW, first=START))).url
        return CcxtSource(exchange, since=START, clock=ManualClock(NOW), url=url, sleep=lambda seconds: None)

    return make


def alpaca(folder: Path, stack: ExitStack) -> BarSource:
    url = stack.enter_context(AlpacaLookAlike(SimulatedMarket(now=NOW, first=START))).url
    return AlpacaSource(since=START, clock=ManualClock(NOW), url=url, sleep=lambda seconds: None)


MAKERS = {
    "simulated": simulated,
    "files": files,
    "ccxt-binance": ccxt("binance", Binance),
    "ccxt-kraken": ccxt("kraken", Kraken),
    "ccxt-coinbase": ccxt("coinbase", Coinbase),
    "alpaca": alpaca,
}


@pytest.fixture(params=MAKERS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BarSource]:
    with ExitStack() as stack:
        yield MAKERS[request.param](tmp_path, stack)


def fetch(source: BarSource, symbol: str, start: datetime = START, end: datetime = END) -> pd.DataFrame:
    return source.fetch(symbol=symbol, universe=PAIR, start=start, end=end)


def test_every_source_gives_the_bars_of_its_market(source: BarSource):
    for symbol in PAIR.symbols:
        market = fetch(SimulatedSource(start=START, end=END), symbol)
        pd.testing.assert_frame_equal(fetch(source, symbol), market, rtol=0, atol=1e-8)  # eight decimals on the wire


def test_bars_are_typed_sorted_unique_and_inside_the_range(source: BarSource):
    since, until = START + timedelta(days=3), START + timedelta(days=9, minutes=30)
    bars = fetch(source, "BTC-USD", since, until)
    assert list(bars.columns) == ["timestamp", "open", "high", "low", "close", "volume"]
    assert str(bars["timestamp"].dtype) == "datetime64[us, UTC]"
    assert set(map(str, bars.dtypes[1:])) == {"float64"}
    assert bars["timestamp"].is_monotonic_increasing
    assert bars["timestamp"].is_unique
    assert bars["timestamp"].iloc[0] >= pd.Timestamp(since)
    assert bars["timestamp"].iloc[-1] == pd.Timestamp(until - timedelta(minutes=30))


def test_a_range_is_the_sum_of_its_parts(source: BarSource):
    cut = START + timedelta(days=20, hours=7)
    parts = [fetch(source, "ETH-USD", START, cut), fetch(source, "ETH-USD", cut, END)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), fetch(source, "ETH-USD"))


def test_the_coverage_holds_all_bars_and_nothing_lies_outside(source: BarSource):
    first, end = source.coverage(PAIR)
    assert first == START
    assert end in (END, None), "None: new bars keep coming"
    assert fetch(source, "BTC-USD", END, END + timedelta(days=9)).empty
    assert fetch(source, "BTC-USD", END, START).empty
    before = START - timedelta(days=9), START
    if source.label == "ccxt kraken":  # what a venue no longer serves is refused, never left out
        with pytest.raises(DataError, match="serves only its newest 720 bars"):
            fetch(source, "BTC-USD", *before)
    else:
        assert fetch(source, "BTC-USD", *before).empty


def test_the_bars_pass_the_audit(source: BarSource):
    frame = pd.concat([fetch(source, symbol).assign(symbol=symbol) for symbol in PAIR.symbols])
    report = audit_bars(frame, PAIR)
    assert report.passed, report.errors
    assert len(align(frame, PAIR)) == 28 * 24


def test_a_source_tells_who_it_is(source: BarSource):
    assert canonical_json(source.identity()) == canonical_json(source.identity())
    assert source.label.startswith(source.name)


# binance and kraken have every timeframe there is.
@pytest.mark.parametrize("source", ["simulated", "files", "ccxt-coinbase", "alpaca"], indirect=True)
def test_another_timeframe_than_the_source_has_is_an_error_with_a_way_out(source: BarSource):
    with pytest.raises((ConfigurationError, DataError), match=r"set the timeframe"):
        source.fetch(symbol="BTC-USD", universe=Universe(tickers=("BTC",), timeframe="4h"), start=START, end=END)


@pytest.mark.parametrize("column", ["timestamp", "Date", "OPEN_TIME", "datetime", "time"])
@pytest.mark.parametrize(
    "form",
    [
        lambda t: t.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda t: t.dt.strftime("%Y-%m-%d %H:%M:%S"),
        lambda t: t.dt.tz_convert("Asia/Tokyo").astype(str),
        lambda t: t.dt.tz_convert(None).astype("datetime64[s]").astype("int64"),
        lambda t: t.dt.tz_convert(None).astype("datetime64[ms]").astype("int64"),
        lambda t: t.dt.tz_convert(None).astype("datetime64[us]").astype("int64"),
    ],
    ids=["iso", "no zone", "offset", "s", "ms", "us"],
)
def test_files_read_every_usual_form_of_time(tmp_path: Path, column: str, form: Callable[[pd.Series], pd.Series]):
    bars = fetch(SimulatedSource(start=START, end=END), "BTC-USD", START, START + timedelta(days=1))
    renamed = bars.rename(columns=str.upper).drop(columns="TIMESTAMP")
    renamed.insert(2, column, form(bars["timestamp"]))
    renamed.to_csv(tmp_path / "BTC_USD.csv", index=False)
    pd.testing.assert_frame_equal(fetch(FilesSource(tmp_path), "BTC-USD"), bars)


def test_files_keep_their_identity_when_moved_or_appended_to_and_lose_it_with_other_bars(tmp_path: Path):
    bars = fetch(SimulatedSource(start=START, end=END), "BTC-USD")
    for name, frame in {"a": bars.iloc[:50], "b": bars, "c": bars.iloc[5:]}.items():
        (tmp_path / name).mkdir()
        frame.to_parquet(tmp_path / name / "BTC-USD.parquet", index=False)
    a, b, c = (FilesSource(tmp_path / name).identity() for name in "abc")
    assert a == b != c


def test_files_see_a_file_that_grew(tmp_path: Path):
    bars = fetch(SimulatedSource(start=START, end=END), "BTC-USD")
    bars.iloc[:50].to_csv(tmp_path / "BTC-USD.csv", index=False)
    source = FilesSource(tmp_path)
    assert len(fetch(source, "BTC-USD")) == 50
    bars.to_csv(tmp_path / "BTC-USD.csv", index=False)
    assert len(fetch(source, "BTC-USD")) == len(bars)


def test_files_errors_name_the_file_and_what_it_has(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="nowhere does not exist"):
        FilesSource(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no file for BTC-USD.* it holds no Parquet or CSV file"):
        fetch(FilesSource(tmp_path), "BTC-USD")
    (tmp_path / "BTC-USD.csv").write_text("when,open,high,low,last\n1,2,3,4,5\n")
    with pytest.raises(DataError, match=r"lacks timestamp \(or time, .*\), close, volume; its columns are when, open"):
        fetch(FilesSource(tmp_path), "BTC-USD")
    with pytest.raises(DataError, match=r"no file for ETH-USD.* it holds BTC-USD\.csv"):
        fetch(FilesSource(tmp_path), "ETH-USD")
    (tmp_path / "BTC-USD.csv").write_text("time,open,high,low,close,volume\nsoon,2,3,4,5,6\n")
    with pytest.raises(DataError, match="neither ISO 8601 nor an epoch"):
        fetch(FilesSource(tmp_path), "BTC-USD")
    (tmp_path / "BTC-USD.csv").write_text("time,open,high,low,close,volume\n2024-01-01,2,3,,5,6\n")
    with pytest.raises(DataError, match=r"BTC-USD\.csv hold 1 rows with an empty or infinite value"):
        fetch(FilesSource(tmp_path), "BTC-USD")
    (tmp_path / "BTCUSD.csv").write_text("")
    with pytest.raises(DataError, match=r"BTC-USD\.csv and BTCUSD\.csv for BTC-USD; keep one"):
        fetch(FilesSource(tmp_path), "BTC-USD")
    (tmp_path / "ETH-USD.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"ETH-USD\.parquet cannot be read as PARQUET"):
        fetch(FilesSource(tmp_path), "ETH-USD")


@pytest.mark.skipif(not REAL.is_dir(), reason="real bars are not part of the repository")
def test_real_bars_pass_and_their_outages_are_filled():
    universe = Universe(quote="USDT")
    source = FilesSource(REAL)
    start, end = source.coverage(universe)
    fetched = {
        symbol: source.fetch(symbol=symbol, universe=universe, start=start, end=end) for symbol in universe.symbols
    }
    frame = pd.concat([bars.assign(symbol=symbol) for symbol, bars in fetched.items()], ignore_index=True)
    report = audit_bars(frame, universe)
    assert report.passed
    assert set(report.filled.values()) == {20}
    assert max(finding.bars for finding in report.findings) <= 6
    panel = align(frame, universe)
    assert len(panel) == 23_733
    assert np.isfinite(panel.close).all()
