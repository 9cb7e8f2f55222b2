"""ccxt against venues that speak like binance, kraken and coinbase: what is asked, what comes, what is refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lookalikes.binance import Binance
from lookalikes.coinbase import Coinbase
from lookalikes.kraken import Kraken
from lookalikes.server import HOUR, LookAlike, Market, Request, ms

from cappuccino_ml.bars import ccxt_venues
from cappuccino_ml.bars.ccxt_source import CcxtSource
from cappuccino_ml.bars.pager import RetrySettings
from cappuccino_ml.bars.universe import TIMEFRAMES, Universe
from cappuccino_ml.core import ConfigurationError, DataError, ManualClock

NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
HOLES = frozenset({datetime(2024, 2, 20, 5, tzinfo=UTC), datetime(2024, 2, 20, 6, tzinfo=UTC)})
MARKET = Market(now=NOW, first=datetime(2023, 6, 1, tzinfo=UTC), holes=HOLES)
SPEAKERS = {"binance": Binance, "kraken": Kraken, "coinbase": Coinbase}
QUOTES = {"binance": "USDT", "kraken": "USD", "coinbase": "USD"}
LISTED = {quote: tuple(pair for pair in MARKET.symbols if pair[1] == quote) for quote in ("USD", "USDT")}
FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"


@dataclass
class Desk:
    """A source, the venue it talks to, and what it waited and told."""

    source: CcxtSource
    venue: LookAlike
    slept: list[float]

    @property
    def symbol(self) -> str:
        return f"BTC-{QUOTES[self.source.exchange]}"

    def fetch(
        self, start: datetime, end: datetime, *, symbol: str | None = None, timeframe: str = "1h"
    ) -> pd.DataFrame:
        universe = Universe(tickers=("BTC",), quote=QUOTES[self.source.exchange], timeframe=timeframe)
        return self.source.fetch(symbol=symbol or self.symbol, universe=universe, start=start, end=end)


def desk_for(exchange: str, venue: LookAlike, *, now: datetime = NOW, **more: Any) -> Desk:
    slept: list[float] = []
    clock = ManualClock(now)
    source = CcxtSource(exchange, since=MARKET.first, clock=clock, url=venue.url, sleep=slept.append, **more)
    return Desk(source, venue, slept)


@pytest.fixture(params=SPEAKERS)
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with SPEAKERS[request.param](replace(MARKET, symbols=LISTED[QUOTES[request.param]])) as venue:
        yield desk_for(request.param, venue)


@pytest.fixture
def venues() -> Iterator[dict[str, Desk]]:
    with Binance(replace(MARKET, symbols=LISTED["USDT"])) as b, Kraken(MARKET) as k, Coinbase(MARKET) as c:
        yield {name: desk_for(name, venue) for name, venue in (("binance", b), ("kraken", k), ("coinbase", c))}


def test_the_bars_are_the_venues_and_each_window_is_asked_once(desk: Desk):
    start, end = NOW - timedelta(hours=719), NOW + timedelta(days=1)
    pd.testing.assert_frame_equal(desk.fetch(start, end), desk.venue.market.truth(desk.symbol, start, end))
    windows = {"binance": 1, "kraken": 1, "coinbase": 3}
    assert len(desk.venue.asked()) == windows[desk.source.exchange]


def test_the_requests_are_those_the_venues_document(venues: dict[str, Desk]):
    start, end = datetime(2024, 2, 28, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)
    for venue in venues.values():
        assert len(venue.fetch(start, end)) == 24
    sent = {name: [request.query for request in venue.venue.asked()] for name, venue in venues.items()}
    first, last = str(ms(start)), str(ms(end) - 1)
    assert sent["binance"] == [
        {"symbol": "BTCUSDT", "interval": "1h", "startTime": first, "endTime": last, "limit": "24"}
    ]
    assert sent["kraken"] == [{"pair": "XXBTZUSD", "interval": "60", "since": str(ms(start) // 1000 - 3600)}]
    assert sent["coinbase"] == [
        {"granularity": "ONE_HOUR", "start": str(ms(start) // 1000), "end": str(ms(end) // 1000 - 1)}
    ]


def test_a_long_range_is_walked_page_by_page(venues: dict[str, Desk]):
    start, end = MARKET.first, NOW
    for name, pages in (("binance", 7), ("coinbase", 22)):
        fetched = venues[name].fetch(start, end)
        pd.testing.assert_frame_equal(fetched, MARKET.truth(venues[name].symbol, start, end))
        assert len(venues[name].venue.asked()) == pages


def test_a_range_is_the_sum_of_its_parts_and_outside_there_is_nothing(desk: Desk):
    start, cut, end = NOW - timedelta(hours=500), NOW - timedelta(hours=123, minutes=7), NOW - timedelta(hours=20)
    parts = pd.concat([desk.fetch(start, cut), desk.fetch(cut, end)], ignore_index=True)
    pd.testing.assert_frame_equal(parts, desk.fetch(start, end))
    asked = len(desk.venue.asked())
    assert desk.fetch(end, start).empty
    assert desk.fetch(NOW + HOUR, NOW + 9 * HOUR).empty
    assert len(desk.venue.asked()) == asked


def test_a_range_before_the_listing_is_empty_because_the_venue_says_so(venues: dict[str, Desk]):
    for name in ("binance", "coinbase"):
        assert venues[name].fetch(MARKET.first - timedelta(days=9), MARKET.first).empty
        assert venues[name].venue.asked()


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "30m", "1d"])
def test_other_bar_lengths_work_where_the_venue_has_them(desk: Desk, timeframe: str):
    bar = TIMEFRAMES[timeframe]
    start, end = NOW - 40 * bar, NOW
    truth = desk.venue.market.truth(desk.symbol, start, end, bar)
    pd.testing.assert_frame_equal(desk.fetch(start, end, timeframe=timeframe), truth)
    assert len(truth) in (39, 40)  # the newest day is half over


def test_markets_are_loaded_once_when_first_needed_and_for_spot_only(desk: Desk):
    assert desk.venue.requests == []
    desk.fetch(NOW - 9 * HOUR, NOW)
    others = [request.path for request in desk.venue.asked(bars=False)]
    assert len(others) == {"binance": 1, "kraken": 2, "coinbase": 5}[desk.source.exchange]
    assert not [path for path in others if "/fapi" in path or "/dapi" in path or "/sapi" in path]
    desk.fetch(NOW - 9 * HOUR, NOW, symbol=desk.symbol.replace("BTC", "ETH"))
    assert len(desk.venue.asked(bars=False)) == len(others)


def test_the_rate_limit_is_kept_by_the_sleep_that_was_given(venues: dict[str, Desk]):
    venues["kraken"].fetch(NOW - 9 * HOUR, NOW)
    waits = venues["kraken"].slept
    assert len(waits) == len(venues["kraken"].venue.requests) - 1
    assert all(0.5 < seconds <= 1.2 for seconds in waits)


def test_a_source_tells_who_it_is_wherever_it_begins(venues: dict[str, Desk]):
    source = venues["kraken"].source
    later = CcxtSource("kraken", since=NOW, clock=ManualClock(NOW))
    assert source.identity() == later.identity() == {"name": "ccxt", "exchange": "kraken"}
    assert source.label == "ccxt kraken"
    assert source.coverage(Universe()) == (MARKET.first, None)


def test_an_unknown_exchange_is_refused_with_near_ones():
    with pytest.raises(ConfigurationError, match="no exchange 'krakn'; choose one it has, such as kraken"):
        CcxtSource("krakn", since=NOW, clock=ManualClock(NOW))
    with pytest.raises(ConfigurationError, match="such as binance, coinbase, kraken"):
        CcxtSource("__init__", since=NOW, clock=ManualClock(NOW))
    with pytest.raises(ConfigurationError, match="has no time zone"):
        CcxtSource("kraken", since=datetime(2024, 1, 1), clock=ManualClock(NOW))  # noqa: DTZ001 - what is refused


def test_a_timeframe_the_venue_lacks_is_refused_without_a_request(venues: dict[str, Desk]):
    with pytest.raises(
        ConfigurationError, match=r"no 4h bars; set the timeframe to .*1h, 2h.*can be built from 1h bars"
    ):
        venues["coinbase"].fetch(NOW - 9 * HOUR, NOW, timeframe="4h")
    assert venues["coinbase"].venue.requests == []


def test_a_symbol_the_venue_lacks_is_refused_with_the_quotes_it_has(venues: dict[str, Desk]):
    with pytest.raises(DataError, match="not list BTC/USD; it lists BTC/USDT: set the quote currency to USDT"):
        venues["binance"].fetch(NOW - 9 * HOUR, NOW, symbol="BTC-USD")
    with pytest.raises(DataError, match="not list BTX against anything; its tickers are such as BTC"):
        venues["kraken"].fetch(NOW - 9 * HOUR, NOW, symbol="BTX-USD")
    assert not venues["binance"].venue.asked()
    assert not venues["kraken"].venue.asked()


class Anchored(Binance):
    """Has a smaller page than it says and cuts it at the old end."""

    def answer(self, request: Request, alter: Any) -> Any:
        if self.is_bars(request.path):
            stop = int(request.query["startTime"]) + int(request.query["limit"]) * 3_600_000
            request = replace(request, query={**request.query, "endTime": str(stop - 1)})
            return super().answer(request, alter)[-200:]
        return super().answer(request, alter)


class Newest(Binance):
    """Sends its newest 200 rows, whatever is asked."""

    def answer(self, request: Request, alter: Any) -> Any:
        if self.is_bars(request.path):
            query = {name: value for name, value in request.query.items() if name != "startTime"}
            return super().answer(replace(request, query={**query, "limit": "200"}), alter)
        return super().answer(request, alter)


class Capped(Binance):
    """Has a smaller page than it says and cuts it at the new end."""

    def answer(self, request: Request, alter: Any) -> Any:
        answer = super().answer(request, alter)
        return answer[:200] if self.is_bars(request.path) else answer


@pytest.mark.parametrize("speaker", [Anchored, Capped, Binance])
def test_p4_a_venue_nobody_studied_loses_no_bar(monkeypatch: pytest.MonkeyPatch, speaker: type[LookAlike]):
    monkeypatch.delitem(ccxt_venues._VENUES, "binance")
    holes = frozenset(
        MARKET.first + k * HOUR for k in (0, 1, 2, *range(900, 960), *range(2000, 3300), *range(4100, 4102))
    )
    with speaker(replace(MARKET, holes=holes)) as venue:
        start, end = MARKET.first - timedelta(hours=30), MARKET.first + timedelta(hours=4200)
        fetched = desk_for("binance", venue).fetch(start, end)
        pd.testing.assert_frame_equal(fetched, venue.market.truth("BTC-USDT", start, end))
        assert len(venue.asked()) < 60


def test_p4_a_venue_nobody_studied_that_ignores_the_beginning_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(ccxt_venues._VENUES, "binance")
    with Newest(MARKET) as venue:
        with pytest.raises(DataError, match=r"binance sends bars from 2024-02-.* on, wherever it is asked to begin"):
            desk_for("binance", venue).fetch(NOW - timedelta(days=90), NOW)
        assert len(venue.asked()) == 3


def recorded(folder: str) -> list[Path]:
    return sorted((FIXTURES / folder).glob("*klines*.json" if folder == "binance" else "*ohlc*.json"))


class Replay(LookAlike):
    """Answers requests for bars with a recorded body, unchanged, and lists its market as `speaker` does."""

    def __init__(self, speaker: type[LookAlike], market: Market, body: bytes) -> None:
        self.speaker = speaker(market)
        self.body = body
        super().__init__(market)

    def is_bars(self, path: str) -> bool:
        return self.speaker.is_bars(path)

    def answer(self, request: Request, alter: Any) -> Any:
        return json.loads(self.body) if self.is_bars(request.path) else self.speaker.answer(request, alter)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="recorded answers are not part of the repository")
def test_recorded_answers_give_the_rows_they_hold():
    for path in recorded("binance"):
        record = json.loads(path.read_text())
        query = dict(part.split("=") for part in record["request"]["query"].split("&"))
        base, quote = ("ETH", "BTC") if query["symbol"] == "ETHBTC" else ("BTC", "USDT")
        rows = [[row[0], *map(float, row[1:6])] for row in record["response"]]
        held = replay("binance", Binance, (base, quote), query["interval"], rows, json.dumps(record["response"]))
        assert held[0] == held[1], path.name
    for path in recorded("kraken"):
        answer = json.loads(path.read_text())
        rows = [[row[0] * 1000, *map(float, [*row[1:5], row[6]])] for row in answer["result"]["XXBTZUSD"]]
        held = replay("kraken", Kraken, ("BTC", "USD"), "1m", rows, path.read_text())
        assert held[0] == held[1][:-1], path.name  # the newest row of kraken is the one still forming


def replay(
    exchange: str, speaker: type[LookAlike], pair: tuple[str, str], timeframe: str, rows: list[list[Any]], body: str
) -> tuple[list[list[Any]], list[list[Any]]]:
    """The rows as fetched, and those that the answer holds."""
    bar = TIMEFRAMES[timeframe]
    first, last = (datetime.fromtimestamp(row[0] / 1000, UTC) for row in (rows[0], rows[-1]))
    now = last + (bar / 2 if exchange == "kraken" else bar)
    universe = Universe(tickers=(pair[0],), quote=pair[1], timeframe=timeframe)
    with Replay(speaker, Market(now=now, first=first, symbols=(pair,)), body.encode()) as venue:
        source = CcxtSource(
            exchange,
            since=first,
            clock=ManualClock(now),
            url=venue.url,
            sleep=lambda _: None,
            retry=RetrySettings(tries=1),
        )
        fetched = source.fetch(symbol="-".join(pair), universe=universe, start=first, end=last + bar)
        assert len(venue.asked()) == 1
    stamps = fetched["timestamp"].astype("datetime64[ms, UTC]").astype("int64")
    return fetched.assign(timestamp=stamps).to_numpy().tolist(), rows
