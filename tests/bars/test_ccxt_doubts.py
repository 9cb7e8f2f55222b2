"""Answers through ccxt that look right and are not, and urls that would leak: the truth, or one named error."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lookalikes import server
from lookalikes.binance import Binance
from lookalikes.coinbase import Coinbase
from lookalikes.kraken import Kraken
from lookalikes.server import HOUR, Fault, LookAlike, Market

from cappuccino_ml.bars import ccxt_venues
from cappuccino_ml.bars.ccxt_source import CcxtSource
from cappuccino_ml.bars.ingest import bars_table, ingest_month
from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ConfigurationError, ManualClock, SourceError

NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
START = NOW.replace(minute=0) - 700 * HOUR
SPEAKERS = {"binance": Binance, "kraken": Kraken, "coinbase": Coinbase}
CANARY = "CANARY0PASSWORD"


@pytest.fixture(params=SPEAKERS)
def venue(request: pytest.FixtureRequest) -> Iterator[LookAlike]:
    with SPEAKERS[request.param](Market(now=NOW, first=FIRST)) as venue:
        yield venue


def universe_of(venue: LookAlike) -> Universe:
    return Universe(tickers=("BTC",), quote="USDT" if isinstance(venue, Binance) else "USD")


def source_of(venue: LookAlike, *, now: datetime = NOW, path: str = "") -> CcxtSource:
    return CcxtSource(
        type(venue).__name__.lower(),
        since=FIRST,
        clock=ManualClock(now),
        url=venue.url + path,
        retry=RetrySettings(tries=2),
        sleep=lambda seconds: None,
    )


def fetch(venue: LookAlike, **more: Any) -> pd.DataFrame:
    universe = universe_of(venue)
    return source_of(venue, **more).fetch(symbol=universe.symbols[0], universe=universe, start=START, end=NOW)


def truth(venue: LookAlike) -> pd.DataFrame:
    return venue.market.truth(universe_of(venue).symbols[0], START, NOW)


def test_p5_an_old_answer_of_a_cache_is_an_error_and_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Binance(Market(now=NOW, first=FIRST)) as venue:
        universe = universe_of(venue)
        source = source_of(venue)
        table = bars_table(tmp_path, source=source, universe=universe)
        with monkeypatch.context() as cached:
            said = "Mon, 01 Jan 2024 00:00:00 GMT"
            cached.setattr(venue._http.RequestHandlerClass, "date_time_string", lambda self, timestamp=None: said)
            with pytest.raises(SourceError, match="says it is 2024-01-01T00:00:00Z, this machine says 2024-03-01T12"):
                ingest_month(source, table, universe, "2024-02", now=NOW)
        assert table.partitions == {}
        assert ingest_month(source, table, universe, "2024-02", now=NOW)["rows"] == 29 * 24


@pytest.mark.parametrize("hours", [9, -29])
def test_p5_a_clock_that_is_wrong_is_an_error_that_says_so(venue: LookAlike, hours: int):
    with pytest.raises(SourceError, match="set the clock, or do not ask through a cache"):
        fetch(venue, now=NOW + hours * HOUR)
    assert len(venue.asked()) == 2


def in_units(factor: int) -> Fault:
    return Fault("another unit", rows=lambda rows: [(t * factor, *rest) for t, *rest in rows])


NO_TIME = Fault("a row without a time", rows=lambda rows: [*rows[1:], (None, *rows[0][1:])])


@pytest.mark.parametrize("studied", [True, False])
@pytest.mark.parametrize("fault", [in_units(1000), in_units(10**6), in_units(-1), NO_TIME], ids=["us", "ns", "-", "no"])
def test_p4_times_that_are_none_are_garbage(
    venue: LookAlike, monkeypatch: pytest.MonkeyPatch, fault: Fault, studied: bool
):
    if not studied:
        monkeypatch.setattr(ccxt_venues, "_VENUES", {})
    venue.play(fault)
    pd.testing.assert_frame_equal(fetch(venue), truth(venue))
    venue.stay(fault)
    with pytest.raises(SourceError, match=r"no usable answer in 2 tries .* rows without a time in ms"):
        fetch(venue)


def test_p4_bars_of_four_hours_are_not_taken_for_hours(venue: LookAlike):
    four = Fault("every fourth hour", rows=lambda rows: [row for row in rows if row[0] % (4 * 3_600_000) == 0])
    venue.stay(four)
    with pytest.raises(SourceError, match="bars 240 minutes apart where one every 60 was asked for"):
        fetch(venue)
    venue.stay(None)
    venue.play(four)
    pd.testing.assert_frame_equal(fetch(venue), truth(venue))


def oldest_first(rows: list[server.Row]) -> list[server.Row]:
    return sorted(rows)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("a short page", rows=lambda rows: oldest_first(rows)[:200]),
        Fault("the last five missing", rows=lambda rows: oldest_first(rows)[:-5]),
    ],
    ids=lambda fault: fault.name,
)
def test_p4_a_page_that_ends_early_loses_no_bar(venue: LookAlike, fault: Fault):
    venue.play(fault, fault if fault.name == "a short page" else None)
    pd.testing.assert_frame_equal(fetch(venue), truth(venue))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "https://proxy.example.com/",
        "https://proxy.example.com/binance/spot",
        "http://localhost",
        "http://[::1]:80/x",
    ],
)
def test_a_url_of_the_right_form_is_taken(url: str):
    assert CcxtSource("binance", since=FIRST, clock=ManualClock(NOW), url=url).exchange == "binance"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://user:{CANARY}@127.0.0.1:8000", "user name or password, .* write it without"),
        (f"user:{CANARY}@host", "user name or password"),
        (f"http://{CANARY}@host", "user name or password"),
        (f"{CANARY}:8000", r"does not say http:// or https://; put it in front, as in http://localhost:8000"),
        ("", "does not say http:// or https://"),
        (f"http://host/{CANARY}?key={CANARY}", r"not of the form http\(s\)://host\[:port\]\[/path\]"),
        (f"http://host/#{CANARY}", "not of the form"),
        (f"http://host/{CANARY}\n", "not of the form"),
        (f"http://host:{CANARY}", "not of the form"),
        ("http://host:99999", "not of the form"),
        ("http://", "not of the form"),
        (f"ftp://host/{CANARY}", "not of the form"),
        (f"http://host\\{CANARY}", "not of the form"),
    ],
)
def test_p9_a_url_of_another_form_is_refused_without_being_repeated(url: str, words: str):
    with pytest.raises(ConfigurationError, match=words) as caught:
        CcxtSource("binance", since=FIRST, clock=ManualClock(NOW), url=url)
    assert CANARY not in str(caught.value)


def chain(error: BaseException) -> list[BaseException]:
    found, left = list[BaseException](), [error]
    while left:
        one = left.pop()
        found.append(one)
        left += [other for other in (one.__cause__, one.__context__) if other is not None and other not in found]
    return found


@pytest.mark.parametrize("where", ["bars", "markets", "nobody there"])
@pytest.mark.parametrize(
    "fault", [server.RESET, server.HTML, server.SHORT_BODY, server.status(451)], ids=lambda fault: fault.name
)
def test_p9_no_failure_carries_the_url(where: str, fault: Fault):
    class Prefixed(Binance):
        def is_bars(self, path: str) -> bool:
            return "klines" in path

        def answer(self, request: server.Request, alter: Any) -> Any:
            path = request.path.removeprefix(f"/{CANARY}")
            assert path != request.path
            asked = server.Request(request.method, path, request.query, request.headers, request.body, request.fault)
            return super().answer(asked, alter)

    with Prefixed(Market(now=NOW, first=FIRST)) as venue:
        source = CcxtSource(
            "binance",
            since=FIRST,
            clock=ManualClock(NOW),
            url=f"{venue.url}/{CANARY}",
            retry=RetrySettings(tries=2),
            sleep=lambda seconds: None,
        )
        venue.stay(fault, bars=where == "bars")
        if where != "nobody there":
            with pytest.raises(SourceError) as caught:
                source.fetch(symbol="BTC-USDT", universe=universe_of(venue), start=START, end=NOW)
            assert CANARY in venue.requests[-1].path, "else the test proves nothing"
    if where == "nobody there":
        with pytest.raises(SourceError, match=r"a connection refused or cut \(ConnectionError\)") as caught:
            source.fetch(symbol="BTC-USDT", universe=universe_of(venue), start=START, end=NOW)
    for error in chain(caught.value):
        assert type(error).__module__.startswith("cappuccino_ml"), "others carry the request"
        assert CANARY not in f"{error!r} {vars(error)}"
