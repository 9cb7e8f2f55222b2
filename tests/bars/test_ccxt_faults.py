"""Every fault a venue can have while bars are fetched through ccxt: the same bars in the end, or one named error."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from lookalikes import server
from lookalikes.binance import Binance
from lookalikes.coinbase import Coinbase
from lookalikes.kraken import Kraken
from lookalikes.server import HOUR, Fault, LookAlike, Market, Row, status

from cappuccino_ml.bars.ccxt_source import CcxtSource
from cappuccino_ml.bars.pager import RetrySettings
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import CappuccinoError, DataError, ManualClock, SourceError

NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
MARKET = Market(now=NOW, first=datetime(2023, 6, 1, tzinfo=UTC))
END = NOW + timedelta(days=1)
PAGES = {"binance": 2, "kraken": 1, "coinbase": 2}


@dataclass
class Desk:
    """A source, its venue, and what it waited for reasons other than the rate limit."""

    exchange: str
    venue: LookAlike
    source: CcxtSource
    slept: list[float]
    start: datetime

    @property
    def symbol(self) -> str:
        return "BTC-USDT" if self.exchange == "binance" else "BTC-USD"

    @property
    def truth(self) -> pd.DataFrame:
        return self.venue.market.truth(self.symbol, self.start, END)

    def fetch(self, **more: Any) -> pd.DataFrame:
        span = {"start": self.start, "end": END} | more
        universe = Universe(tickers=("BTC",), quote=self.symbol[4:])
        return self.source.fetch(symbol=self.symbol, universe=universe, **span)


def desk_for(exchange: str, venue: LookAlike, *, now: datetime = NOW, retry: RetrySettings | None = None) -> Desk:
    hours = {"binance": 1300, "kraken": 719, "coinbase": 500}[exchange]
    slept: list[float] = []
    source = CcxtSource(
        exchange,
        since=MARKET.first,
        clock=ManualClock(now),
        url=venue.url,
        sleep=slept.append,
        retry=retry or RetrySettings(tries=3, first_wait_s=4),  # longer than any rate limit here
    )
    return Desk(exchange, venue, source, slept, NOW.replace(minute=0) - timedelta(hours=hours))


SPEAKERS = {"binance": Binance, "kraken": Kraken, "coinbase": Coinbase}


@pytest.fixture(params=SPEAKERS)
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with SPEAKERS[request.param](replace(MARKET)) as venue:
        yield desk_for(request.param, venue)


def waits(desk: Desk) -> list[float]:
    return [seconds for seconds in desk.slept if seconds > 2]


OTHER_JSON = Fault("JSON of something else", body=b'{"status":"maintenance"}')
NO_RESULT = Fault("the frame without bars", body=b'{"error":[],"result":{}}')
PASSING = [
    *(status(code) for code in (429, 500, 502, 503, 504)),
    status(503, body=b"<html>down</html>"),
    server.RESET,
    server.SHORT_BODY,
    server.HTML,
    server.EMPTY,
    server.TRUNCATED,
    server.NULL_ROWS,
    server.ONE_NULL_PRICE,
    OTHER_JSON,
    NO_RESULT,
]
NAMES = [
    f"{fault.name}{' with HTML' if fault.body and fault.status == 503 and b'<' in fault.body else ''}"
    for fault in PASSING
]


@pytest.mark.parametrize("fault", PASSING, ids=NAMES)
def test_p4_a_fault_that_passes_costs_one_request_and_no_bar(desk: Desk, fault: Fault):
    pages = PAGES[desk.exchange]
    desk.venue.play(*[None] * (pages - 1), fault)  # the last page
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
    assert len(desk.venue.asked()) == pages + 1
    desk.venue.play(fault)  # the first one
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
    assert len(desk.venue.asked()) == 2 * (pages + 1)
    assert waits(desk) == [4, 4]


@pytest.mark.parametrize("fault", PASSING, ids=NAMES)
def test_p4_p11_a_fault_that_lasts_is_one_named_error_after_three_tries_and_never_no_bars(desk: Desk, fault: Fault):
    desk.venue.play(*[None] * (PAGES[desk.exchange] - 1))
    desk.venue.stay(fault)
    with pytest.raises(SourceError, match=rf"^{desk.exchange}, asked for bars of {desk.symbol} .* in 3 tries"):
        desk.fetch()
    assert len(desk.venue.asked()) == PAGES[desk.exchange] + 2
    assert waits(desk) == [4, 8]
    desk.venue.stay(None)
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)


@pytest.mark.parametrize("fault", [server.UNORDERED, server.REPEATED, server.REVISED], ids=lambda fault: fault.name)
def test_p4_rows_in_disorder_repeated_or_revised_give_the_same_bars_at_once(desk: Desk, fault: Fault):
    desk.venue.stay(fault)
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
    assert len(desk.venue.asked()) == PAGES[desk.exchange]


def test_p4_a_page_full_of_repeated_rows_loses_none_at_its_end(desk: Desk):
    # ccxt's own reading keeps the first `limit` rows, the repeated ones counted.
    desk.venue.stay(Fault("each row four times", rows=lambda rows: [row for row in rows for _ in range(4)]))
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)


def test_p11_a_retry_after_is_waited_for(desk: Desk):
    desk.venue.play(status(429, Retry_After="17"), status(503, Retry_After="Fri, 01 Mar 2024 12:30:09 GMT"))
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
    assert waits(desk) == [17, 9]
    desk.venue.stay(status(429, Retry_After="3600"))
    asked = len(desk.venue.asked())
    with pytest.raises(SourceError, match=r"in 1 try within 180 s .*asks to wait 3600 s"):
        desk.fetch()
    assert len(desk.venue.asked()) == asked + 1


def test_p11_binance_that_bans_with_418_is_waited_for():
    with Binance(MARKET) as venue:
        desk = desk_for("binance", venue)
        venue.play(status(418, Retry_After="120"))
        pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
        assert waits(desk) == [120]


@pytest.mark.parametrize("where", ["bars", "markets"])
@pytest.mark.parametrize("fault", [server.SILENCE, server.TRICKLE], ids=["silence", "trickle"])
def test_p11_silence_and_a_trickle_of_bytes_end_with_the_bounds_on_one_answer(desk: Desk, where: str, fault: Fault):
    bounded = desk_for(desk.exchange, desk.venue, retry=RetrySettings(tries=2, timeout_s=0.15, answer_s=0.3))
    desk.venue.stay(fault, bars=where == "bars")
    began = time.monotonic()
    with pytest.raises(SourceError, match=rf"asked for .*{where}.*in 2 tries .*0\.15 s, or no whole .* 0\.3 s"):
        bounded.fetch()
    assert time.monotonic() - began < 3
    assert len(desk.venue.asked(bars=where == "bars")) == 2


FINAL = [(400, "does not accept"), (401, "keys"), (403, "firewall"), (404, "no such"), (451, "country this machine")]


@pytest.mark.parametrize(("code", "words"), FINAL, ids=[str(code) for code, _ in FINAL])
@pytest.mark.parametrize("body", [b'{"code":0,"msg":"closed here","message":"closed here"}', b"<html>no</html>"])
def test_p11_a_refusal_is_final_at_once_and_says_why(desk: Desk, code: int, words: str, body: bytes):
    desk.venue.stay(status(code, body=body))
    with pytest.raises(SourceError, match=rf"^{desk.exchange}, asked for bars .* answered HTTP {code}.*: .*{words}"):
        desk.fetch()
    assert len(desk.venue.asked()) == 1
    assert waits(desk) == []


@pytest.mark.parametrize(
    "fault", [server.HTML, server.TRUNCATED, server.RESET, status(500)], ids=lambda fault: fault.name
)
def test_p11_the_list_of_markets_is_asked_for_again_and_then_given_up(desk: Desk, fault: Fault):
    desk.venue.play(fault, bars=False)
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
    whole = {"binance": 1, "kraken": 2, "coinbase": 5}[desk.exchange]
    assert len(desk.venue.asked(bars=False)) == 1 + whole  # garbage in one part spoils the list: none is kept
    fresh = desk_for(desk.exchange, desk.venue)
    desk.venue.stay(fault, bars=False)
    for _ in range(2):
        with pytest.raises(
            SourceError, match=f"^{desk.exchange}, asked for its markets, gave no usable answer in 3 tries"
        ):
            fresh.fetch()
    desk.venue.stay(status(451), bars=False)
    with pytest.raises(SourceError, match=r"asked for its markets, answered HTTP 451 \(no\): .*country"):
        fresh.fetch()
    desk.venue.stay(None, bars=False)
    pd.testing.assert_frame_equal(fresh.fetch(), desk.truth)


@pytest.mark.parametrize(
    "words", ["EService:Unavailable", "EService:Busy", "EAPI:Rate limit exceeded", "EGeneral:Internal error"]
)
def test_p11_kraken_that_says_busy_with_200_is_asked_again(words: str):
    with Kraken(MARKET) as venue:
        desk = desk_for("kraken", venue)
        busy = Fault(words, body=f'{{"error":["{words}"]}}'.encode())
        venue.play(busy)
        pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
        venue.stay(busy)
        with pytest.raises(SourceError, match=f"in 3 tries .*{words}"):
            desk.fetch()


@pytest.mark.parametrize(
    ("words", "error"), [("EQuery:Unknown asset pair", SourceError), ("EQuery:Invalid asset pair", DataError)]
)
def test_p11_kraken_that_refuses_with_200_is_final(words: str, error: type[CappuccinoError]):
    with Kraken(MARKET) as venue:
        desk = desk_for("kraken", venue)
        venue.stay(Fault(words, body=f'{{"error":["{words}"]}}'.encode()))
        with pytest.raises(error, match=f"^kraken, asked for bars .*{words}"):
            desk.fetch()
        assert len(venue.asked()) == 1


def test_p4_kraken_asked_for_older_bars_than_it_serves_is_an_error_before_a_request_for_bars():
    with Kraken(MARKET) as venue:
        desk = desk_for("kraken", venue)
        oldest = NOW.replace(minute=0) - 719 * HOUR
        with pytest.raises(
            DataError, match=rf"newest 720 bars .* {oldest:%Y-%m-%dT%H}:00Z.*binance, coinbase or files"
        ):
            desk.fetch(start=oldest - HOUR)
        assert venue.asked() == []
        assert len(desk.fetch(start=oldest)) == 719
        assert len(desk.fetch(start=NOW - 30 * HOUR)) == 29  # a nightly run


def test_p4_kraken_that_ignores_an_older_beginning_is_an_error_even_if_our_clock_is_slow():
    with Kraken(replace(MARKET, now=NOW + timedelta(minutes=31))) as venue:
        slow = desk_for("kraken", venue, now=NOW + timedelta(minutes=28))
        with pytest.raises(
            DataError, match=r"serves only the newest 720 bars of BTC-USD, the oldest at 2024-01-31T14:00Z"
        ):
            slow.fetch(start=NOW.replace(minute=0) - 719 * HOUR)
        assert len(venue.asked()) == 1


def newest(count: int) -> Fault:
    rows = {symbol: MARKET.rows(symbol, HOUR)[-count:] for symbol in ("BTC-USDT", "BTC-USD")}
    return Fault("ignores since", rows=lambda _: rows["BTC-USDT" if count == 1000 else "BTC-USD"])


@pytest.mark.parametrize(("exchange", "count"), [("binance", 1000), ("coinbase", 300)])
@pytest.mark.parametrize("days_ago", [250, 60, 45, 15])
def test_p4_a_venue_that_ignores_where_to_begin_is_an_error(exchange: str, count: int, days_ago: int):
    with SPEAKERS[exchange](MARKET) as venue:
        desk = desk_for(exchange, venue)
        venue.stay(newest(count))
        start = NOW.replace(minute=0) - timedelta(days=days_ago)
        if count * HOUR > timedelta(days=days_ago):  # all that was asked for is among the newest
            pd.testing.assert_frame_equal(desk.fetch(start=start), MARKET.truth(desk.symbol, start, END))
            return
        with pytest.raises(CappuccinoError, match="which were not asked for"):
            desk.fetch(start=start)
        assert len(venue.asked()) <= 3


def test_p4_a_cursor_that_repeats_is_an_error(desk: Desk):
    if desk.exchange == "kraken":
        kept = desk.venue.market.rows(desk.symbol, HOUR)[-700:-100]
    else:
        kept = desk.venue.market.rows(desk.symbol, HOUR, since=server.ms(desk.start))[
            : 1000 if desk.exchange == "binance" else 300
        ]
    desk.venue.stay(Fault("the first page again", rows=lambda _: kept))
    with pytest.raises(SourceError, match=r"which were not asked for|the cursor would stand still"):
        desk.fetch(start=desk.start + 20 * HOUR)
    assert len(desk.venue.asked()) <= 4


@pytest.mark.parametrize(("exchange", "windows"), [("binance", 4), ("coinbase", 9)])
def test_p4_empty_windows_in_the_middle_are_gaps_and_the_walk_goes_on(exchange: str, windows: int):
    hole = frozenset(NOW.replace(minute=0) - k * HOUR for k in range(20, 2250))
    with SPEAKERS[exchange](replace(MARKET, holes=hole)) as venue:
        desk = desk_for(exchange, venue)
        start = NOW.replace(minute=0) - 2300 * HOUR
        fetched = desk.fetch(start=start)
        pd.testing.assert_frame_equal(fetched, venue.market.truth(desk.symbol, start, END))
        assert len(fetched) == 70
        assert len(venue.asked()) == windows


def test_p4_a_long_gap_on_kraken_is_a_gap():
    hole = frozenset(NOW.replace(minute=0) - k * HOUR for k in range(20, 600))
    with Kraken(replace(MARKET, holes=hole)) as venue:
        desk = desk_for("kraken", venue)
        pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
        assert desk.fetch(start=NOW - 500 * HOUR, end=NOW - 30 * HOUR).empty
        assert len(venue.asked()) == 2


def test_p4_p5_the_newest_bar_is_left_out_until_it_has_closed_by_the_servers_time(desk: Desk):
    last = pd.Timestamp(NOW.replace(minute=0) - HOUR)
    desk.venue.market.now = NOW + timedelta(minutes=28)
    for minutes in (28, 32, 24):  # ours may be a little ahead, or behind
        source = desk_for(desk.exchange, desk.venue, now=NOW + timedelta(minutes=minutes))
        fetched = source.fetch(start=desk.start + HOUR)
        assert fetched["timestamp"].iloc[-1] == last
    desk.venue.market.now = NOW + timedelta(minutes=30)
    later = desk_for(desk.exchange, desk.venue, now=NOW + timedelta(minutes=30)).fetch(start=desk.start + HOUR)
    assert later["timestamp"].iloc[-1] == last + HOUR
    assert len(later) == len(fetched) + 1


def test_p5_a_bar_seen_half_formed_and_then_closed_counts_as_it_closed(desk: Desk):
    closed = desk.venue.market.row(desk.symbol, server.ms(NOW.replace(minute=0) - HOUR), HOUR)
    early = (*closed[:4], closed[1], closed[5] / 3)

    def stale_first(rows: list[Row]) -> list[Row]:
        return [early, *rows] if closed in rows else rows

    desk.venue.stay(Fault("half-formed, then closed", rows=stale_first))
    pd.testing.assert_frame_equal(desk.fetch(), desk.truth)


def test_p5_kraken_that_sent_an_old_page_is_asked_to_go_on():
    with Kraken(MARKET) as venue:
        desk = desk_for("kraken", venue)
        venue.play(Fault("an old page", rows=lambda rows: rows[:-100]))
        pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
        assert len(venue.asked()) == 2


def test_p4_kraken_may_have_no_bars_at_the_end_where_nothing_was_traded():
    holes = frozenset(NOW.replace(minute=0) - k * HOUR for k in range(9))
    with Kraken(replace(MARKET, holes=holes)) as venue:
        desk = desk_for("kraken", venue)
        pd.testing.assert_frame_equal(desk.fetch(), desk.truth)
        assert len(venue.asked()) == 2
