"""The Alpaca source against a look-alike over real HTTP: what it asks, what it believes, and what it survives."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lookalikes.alpaca import PATH, AlpacaLookAlike
from lookalikes.server import Fault, Market, status
from pydantic import SecretStr

from cappuccino_ml.bars import Universe
from cappuccino_ml.bars.alpaca_source import AlpacaSource
from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import ConfigurationError, DataError, ManualClock, SourceError

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "alpaca"
HOURLY = Universe(tickers=("BTC", "ETH"))
MINUTES = Universe(tickers=("BTC",), timeframe="1m")
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
RETRY = RetrySettings(tries=4, first_wait_s=1.0, timeout_s=0.4)


@pytest.fixture
def venue() -> Iterator[AlpacaLookAlike]:
    with AlpacaLookAlike(Market(now=NOW, first=datetime(2023, 12, 1, tzinfo=UTC))) as venue:
        yield venue


def source_of(venue: AlpacaLookAlike, waits: list[float] | None = None, **given: Any) -> AlpacaSource:
    waits = [] if waits is None else waits
    settings = {"since": datetime(2021, 1, 1, tzinfo=UTC), "clock": ManualClock(NOW), "retry": RETRY} | given
    return AlpacaSource(url=venue.url, sleep=waits.append, **settings)


def fetch(
    source: AlpacaSource, start: datetime = START, end: datetime = END, universe: Universe = HOURLY
) -> pd.DataFrame:
    return source.fetch(symbol="BTC-USD", universe=universe, start=start, end=end)


def answer_of(rows: object, token: object = None) -> Fault:
    return Fault("an answer", body=json.dumps({"bars": rows, "next_page_token": token}).encode())


def bar_of(t: str, **given: Any) -> dict[str, Any]:
    return {"t": t, "o": 2.0, "h": 3.0, "l": 1.0, "c": 2.5, "v": 7, "n": 3, "vw": 2.1} | given


@pytest.mark.parametrize("end", [START + timedelta(days=1, minutes=30), START + timedelta(days=1, hours=1)])
def test_each_request_names_one_symbol_the_range_with_an_inclusive_end_and_a_limit(
    venue: AlpacaLookAlike, end: datetime
):
    fetch(source_of(venue), START, end)
    (asked,) = venue.asked()
    assert asked.path == PATH
    assert asked.query == {
        "symbols": "BTC/USD",
        "timeframe": "1Hour",
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-01-02T00:00:00Z",
        "limit": "10000",
    }


def test_p4_short_pages_are_gone_on_from_by_time_without_a_bar_lost_or_doubled(venue: AlpacaLookAlike):
    pd.testing.assert_frame_equal(fetch(source_of(venue)), venue.market.truth("BTC-USD", START, END))
    starts = [datetime.fromisoformat(request.query["start"]) for request in venue.asked()]
    assert np.diff(starts).tolist() == [timedelta(hours=h) for h in (126, 420, 233, 311, 126)]
    assert not any("page_token" in request.query for request in venue.asked())


def test_p4_an_exact_page_boundary_at_the_end_asks_no_more():
    with AlpacaLookAlike(Market(now=NOW, first=START), page_rows=(48,)) as venue:
        assert len(fetch(source_of(venue), START, START + timedelta(days=2))) == 48
        assert len(venue.asked()) == 1


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "30m", "1h"])
def test_every_timeframe_that_stands_on_the_utc_grid_is_served(venue: AlpacaLookAlike, timeframe: str):
    universe = Universe(tickers=("BTC",), timeframe=timeframe)
    bars = fetch(source_of(venue), START, START + timedelta(hours=30), universe)
    pd.testing.assert_frame_equal(bars, venue.market.truth("BTC-USD", START, START + timedelta(hours=30), universe.bar))


@pytest.mark.parametrize("timeframe", ["4h", "1d"])
def test_4h_and_1d_are_refused_before_anything_is_asked(venue: AlpacaLookAlike, timeframe: str):
    source, universe = source_of(venue), Universe(tickers=("BTC",), timeframe=timeframe)
    for ask in (lambda: fetch(source, universe=universe), lambda: source.coverage(universe)):
        with pytest.raises(ConfigurationError, match=rf"no {timeframe} bars .*midnight in Chicago.*built from 1h"):
            ask()
    assert venue.requests == []


def test_nothing_before_since_is_asked_and_new_bars_keep_coming(venue: AlpacaLookAlike):
    since = START + timedelta(days=50)
    source = source_of(venue, since=since)
    assert source.coverage(HOURLY) == (since, None)
    assert fetch(source, START, since).empty
    assert venue.requests == []
    assert fetch(source)["timestamp"].iloc[0] == pd.Timestamp(since)
    with pytest.raises(ConfigurationError, match="has no time zone"):
        source_of(venue, since=datetime(2024, 1, 1))  # noqa: DTZ001 - the mistake under test


def test_p5_the_half_formed_newest_bar_and_the_future_are_left_out(venue: AlpacaLookAlike):
    # Our clock is a little ahead of the server's: the earlier one counts.
    venue.market.now = NOW + timedelta(minutes=28)
    source = source_of(venue, clock=ManualClock(NOW + timedelta(minutes=32)))
    bars = fetch(source, END, END + timedelta(days=9))
    assert bars["timestamp"].iloc[-1] == pd.Timestamp("2024-03-01T11:00Z")
    pd.testing.assert_frame_equal(bars, venue.market.truth("BTC-USD", END, END + timedelta(days=9)))


def test_p4_a_bar_without_trades_is_a_bar(venue: AlpacaLookAlike):
    quiet = bar_of("2024-01-01T01:00:00Z", o=5, h=5, l=5, c=5, v=0, n=0, vw=0)
    venue.play(answer_of({"BTC/USD": [bar_of("2024-01-01T00:00:00Z"), quiet]}))
    bars = fetch(source_of(venue), START, START + timedelta(hours=2))
    assert bars[["open", "volume"]].to_numpy().tolist() == [[2.0, 7.0], [5.0, 0.0]]


@pytest.mark.parametrize(
    "text", ["2024-01-01T00:00:00.000000000Z", "2024-01-01T00:00:00.000000001Z", "2023-12-31T19:00:00-05:00"]
)
def test_times_with_nanoseconds_and_offsets_are_read(venue: AlpacaLookAlike, text: str):
    venue.play(answer_of({"BTC/USD": [bar_of(text)]}))
    assert fetch(source_of(venue), START, START + timedelta(hours=1))["timestamp"].tolist() == [pd.Timestamp(START)]


@pytest.mark.parametrize("bars", [{}, None, {"BTC/USD": []}], ids=["empty", "null", "empty list"])
def test_no_bars_is_an_answer(venue: AlpacaLookAlike, bars: object):
    venue.stay(answer_of(bars))
    assert fetch(source_of(venue)).empty
    assert len(venue.requests) == 1


GARBAGE = {
    "no keys": b"{}",
    "no token key": b'{"bars": {}}',
    "no bars key": b'{"next_page_token": null}',
    "bars as a list": b'{"bars": [], "next_page_token": null}',
    "null body": b"null",
    "a number": b"7",
    "a message": b'{"message": "try again"}',
    "token as a number": b'{"bars": {}, "next_page_token": 7}',
    "other symbols": b'{"bars": {"ETH/USD": []}, "next_page_token": null}',
    "symbol as null": b'{"bars": {"BTC/USD": null}, "next_page_token": null}',
    "deeply nested": b"[" * 100_000,
}
BAD_BAR = {
    "no time": {"t": None},
    "time in ms": {"t": 1_704_067_200_000},
    "time without a zone": {"t": "2024-01-01T00:00:00"},
    "time off the grid": {"t": "2024-01-01T00:30:00Z"},
    "text price": {"c": "2.5"},
    "true price": {"c": True},
    "NaN price": {"c": float("nan")},
    "infinite volume": {"v": float("inf")},
    "price of 400 digits": {"h": 10**400},
    "negative volume": {"v": -1},
    "zero price": {"l": 0},
    "low above open": {"l": 2.2},
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE.keys())
def test_p4_an_answer_of_another_shape_is_never_no_bars(venue: AlpacaLookAlike, body: bytes):
    venue.stay(Fault("garbage", body=body))
    with pytest.raises(SourceError, match=r"alpaca, asked for bars of BTC-USD .* no usable answer in 4 tries"):
        fetch(source_of(venue))
    assert len(venue.requests) == 4


@pytest.mark.parametrize("wrong", BAD_BAR.values(), ids=BAD_BAR.keys())
def test_p4_one_bad_bar_makes_the_whole_answer_garbage(venue: AlpacaLookAlike, wrong: dict[str, Any]):
    good, bad = bar_of("2024-01-01T01:00:00Z"), bar_of("2024-01-01T00:00:00Z") | wrong
    venue.play(answer_of({"BTC/USD": [good, bad]}))
    pd.testing.assert_frame_equal(fetch(source_of(venue)), venue.market.truth("BTC-USD", START, END))
    venue.stay(answer_of({"BTC/USD": [good, bad]}))
    with pytest.raises(SourceError, match="no usable answer in 4 tries"):
        fetch(source_of(venue))


def test_an_unknown_symbol_has_no_bars_as_on_the_real_host(venue: AlpacaLookAlike):
    assert source_of(venue).fetch(symbol="NONE-USD", universe=HOURLY, start=START, end=END).empty


@pytest.mark.parametrize("code", [400, 404, 422])
def test_a_refused_symbol_is_an_error_at_once_with_the_servers_words(venue: AlpacaLookAlike, code: int):
    with pytest.raises(DataError, match=r"1Hour bars of BTCUSD \(HTTP 400: invalid symbol: BTCUSD does not .*take BTC"):
        source_of(venue).fetch(symbol="BTCUSD", universe=HOURLY, start=START, end=END)
    venue.play(status(code, body=b"<html>"))
    with pytest.raises(DataError, match=rf"\(HTTP {code}\); take BTC-USD out of the universe"):
        fetch(source_of(venue))
    assert len(venue.requests) == 2


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://data.alpaca.markets", True),
        ("https://data.sandbox.alpaca.markets/", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("http://data.alpaca.markets", False),
        ("https://api.alpaca.markets", False),
        ("https://data.alpaca.markets.example.com", False),
        ("https://user:s3cret@data.alpaca.markets", False),
        ("https://data.alpaca.markets@example.com", False),
        ("https://data.alpaca.markets/v2", False),
        ("http://127.0.0.1:80@example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("https://data.alpaca.markets\n", False),
        ("", False),
    ],
)
def test_bars_come_from_alpacas_data_hosts_or_this_machine_only(url: str, fine: bool):
    def make() -> AlpacaSource:
        return AlpacaSource(since=START, clock=ManualClock(NOW), url=url)

    if fine:
        assert make().identity() == {"name": "alpaca", "feed": "us"}
    else:
        with pytest.raises(ConfigurationError, match=r"https://data\.alpaca\.markets") as caught:
            make()
        assert "s3cret" not in str(caught.value)


def test_keys_are_sent_when_given_and_not_needed(venue: AlpacaLookAlike):
    fetch(source_of(venue), START, START + timedelta(days=1))
    fetch(source_of(venue, key=SecretStr(""), secret=SecretStr("")), START, START + timedelta(days=1))
    fetch(source_of(venue, key=SecretStr("K1"), secret=SecretStr("S1")), START, START + timedelta(days=1))
    sent = [{k: v for k, v in request.headers.items() if k.startswith("apca")} for request in venue.requests]
    assert sent == [{}, {}, {"apca-api-key-id": "K1", "apca-api-secret-key": "S1"}]


def test_one_key_of_two_is_refused(venue: AlpacaLookAlike):
    with pytest.raises(ConfigurationError, match="APCA_API_KEY_ID is set and APCA_API_SECRET_KEY is not"):
        source_of(venue, key=SecretStr("K1"))
    with pytest.raises(ConfigurationError, match="APCA_API_SECRET_KEY is set and APCA_API_KEY_ID is not"):
        source_of(venue, secret=SecretStr("S1"), key=SecretStr(""))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded answers are not part of the repository")
@pytest.mark.parametrize(
    ("file", "ticker", "timeframe", "opened", "close", "volume"),
    [
        ("sdk_get_crypto_bars_0.json", "BTC", "1h", "2022-03-09T05:00Z", 162.95, 88496480.0),
        ("sdk_get_crypto_bars_0.json", "ETH", "1h", "2022-03-09T05:00Z", 858.97, 19227323.0),
        ("go_crypto_multi_bars.json", "BCH", "1h", "2021-11-20T20:00Z", 582.3, 315.999),
        ("go_crypto_multi_bars.json", "LTC", "1h", "2021-11-20T20:00Z", 225.865, 1792.0),
        ("bars_1min.json", "BTC", "1m", "2024-07-18T05:02Z", 64616.2175, 0.015155213),
    ],
)
def test_recorded_answers_are_read_unchanged(
    file: str, ticker: str, timeframe: str, opened: str, close: float, volume: float
):
    body = (RECORDED / file).read_bytes()
    recorded = json.loads(body)
    if "response" in recorded:  # the file holds the request too
        body = json.dumps(recorded["response"]).encode()
    moment = datetime.fromisoformat(opened)
    with AlpacaLookAlike(Market(now=moment + timedelta(days=9), first=moment)) as venue:
        venue.stay(Fault("recorded", body=body))
        bars = source_of(venue, clock=ManualClock(venue.market.now)).fetch(
            symbol=f"{ticker}-USD",
            universe=Universe(tickers=(ticker,), timeframe=timeframe),
            start=moment - timedelta(hours=1),
            end=moment + timedelta(hours=1),
        )
    assert bars[["timestamp", "close", "volume"]].to_numpy().tolist() == [[pd.Timestamp(opened), close, volume]]
