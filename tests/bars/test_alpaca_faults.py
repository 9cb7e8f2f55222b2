"""The Alpaca source while things go wrong: the same bars after a passing fault, one named error after a lasting one."""

import dataclasses
import json
import logging
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import requests
from lookalikes import server
from lookalikes.alpaca import PATH, AlpacaLookAlike
from lookalikes.server import Fault, Market, Request, status
from pydantic import SecretStr

from cappuccino_ml.bars import Universe, alpaca_source
from cappuccino_ml.bars.alpaca_source import AlpacaSource
from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import CappuccinoError, ConfigurationError, ManualClock, SourceError

HOURLY = Universe(tickers=("BTC",))
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 21, tzinfo=UTC)
NOW = datetime(2024, 1, 21, 12, 30, tzinfo=UTC)
PAGES = (50, 140, 77, 103)  # rows: a range of 480 hours takes five
RETRY = RetrySettings(tries=3, first_wait_s=1.0, timeout_s=0.2)
KEY, SECRET = "PKCANARY0KEY", "canary+secret/0123456789"

REDIRECT = status(302, body=b"<html>moved</html>", Location="http://127.0.0.1:9/")
REFUSALS = [status(429), status(500), status(503), status(504, body=b"<html>504</html>"), status(408)]
BROKEN = [
    server.RESET,
    server.SILENCE,
    server.HTML,
    server.EMPTY,
    server.TRUNCATED,
    server.SHORT_BODY,
    server.NULL_ROWS,
    server.ONE_NULL_PRICE,
    REDIRECT,
    status(204, body=b""),
    Fault("error cut short", status=500, promise=True),
]
DISORDER = [server.UNORDERED, server.REPEATED, server.REVISED]


def name(fault: Fault) -> str:
    return fault.name


@pytest.fixture
def venue() -> Iterator[AlpacaLookAlike]:
    with AlpacaLookAlike(Market(now=NOW, first=START - timedelta(days=2)), page_rows=PAGES) as venue:
        yield venue


def source_of(venue: AlpacaLookAlike, waits: list[float] | None = None, **given: Any) -> AlpacaSource:
    waits = [] if waits is None else waits
    settings = {"since": datetime(2021, 1, 1, tzinfo=UTC), "clock": ManualClock(NOW), "retry": RETRY} | given
    return AlpacaSource(url=venue.url, sleep=waits.append, **settings)


def fetch(source: AlpacaSource, start: datetime = START, end: datetime = END) -> pd.DataFrame:
    return source.fetch(symbol="BTC-USD", universe=HOURLY, start=start, end=end)


def truth(venue: AlpacaLookAlike, end: datetime = END) -> pd.DataFrame:
    return venue.market.truth("BTC-USD", START, end)


@pytest.mark.parametrize("fault", [*REFUSALS, *BROKEN, *DISORDER], ids=name)
def test_p4_a_passing_fault_leaves_the_bars_as_they_are(venue: AlpacaLookAlike, fault: Fault):
    venue.play(fault, None, fault, fault)
    pd.testing.assert_frame_equal(fetch(source_of(venue)), truth(venue))


@pytest.mark.parametrize("fault", [*REFUSALS, *BROKEN], ids=name)
def test_p11_a_lasting_fault_is_one_named_error_after_as_many_requests_as_tries(venue: AlpacaLookAlike, fault: Fault):
    venue.stay(fault)
    waits: list[float] = []
    with pytest.raises(SourceError, match=r"alpaca, asked for bars of BTC-USD from 2024-01-01.* no usable answer in 3"):
        fetch(source_of(venue, waits))
    assert len(venue.requests) == RETRY.tries
    assert waits == ([60.0, 60.0] if fault.status == 429 else [1.0, 2.0])  # the rate headers say 60 s


@pytest.mark.parametrize("fault", DISORDER, ids=name)
def test_p4_lasting_disorder_is_normal_input(venue: AlpacaLookAlike, fault: Fault):
    venue.stay(fault)
    pd.testing.assert_frame_equal(fetch(source_of(venue)), truth(venue))


@pytest.mark.parametrize("code", [429, 504])
def test_p11_the_sdk_sends_one_request_where_left_alone_it_sends_four(venue: AlpacaLookAlike, code: int):
    venue.stay(status(code))
    with pytest.raises(SourceError, match=rf"in 1 try .*HTTP {code}"):
        fetch(source_of(venue, retry=RetrySettings(tries=1)))
    assert len(venue.requests) == 1


def test_p11_a_silent_server_costs_the_timeout_and_no_more(venue: AlpacaLookAlike):
    venue.stay(server.SILENCE)
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"silence for 0\.2 s"):
        fetch(source_of(venue))
    assert 0.6 <= time.monotonic() - began < 3.0


def test_p11_a_trickle_of_bytes_costs_the_bound_on_the_whole_answer_and_no_more(venue: AlpacaLookAlike):
    venue.stay(server.TRICKLE)
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"no whole answer within 0\.3 s"):
        fetch(source_of(venue, retry=RetrySettings(tries=2, answer_s=0.3)))
    assert time.monotonic() - began < 3.0


def test_p11_retry_after_comes_before_the_rate_header_and_both_before_our_own_wait(venue: AlpacaLookAlike):
    waits: list[float] = []
    reset = str(int(NOW.timestamp()) + 41)
    venue.play(status(429, Retry_After="7"), status(429, X_RateLimit_Reset=reset), None)
    venue.play(status(429, X_RateLimit_Reset="soon"), status(503, Retry_After="0"))
    pd.testing.assert_frame_equal(fetch(source_of(venue, waits)), truth(venue))
    assert waits == [7.0, 41.0, 1.0, 2.0]


def test_p11_a_reset_beyond_the_deadline_is_not_waited_for(venue: AlpacaLookAlike):
    waits: list[float] = []
    venue.stay(status(429, X_RateLimit_Reset=str(int(NOW.timestamp()) + 9_999)))
    with pytest.raises(SourceError, match="it asks to wait 9999 s"):
        fetch(source_of(venue, waits))
    assert (len(venue.requests), waits) == (1, [])


def test_p4_a_500_on_page_3_costs_one_request_and_no_bar(venue: AlpacaLookAlike):
    fetch(source_of(venue))
    undisturbed = [request.query for request in venue.requests]
    with AlpacaLookAlike(venue.market, page_rows=PAGES) as other:
        other.play(None, None, status(500))
        pd.testing.assert_frame_equal(fetch(source_of(other)), truth(venue))
        assert [request.query for request in other.requests] == [*undisturbed[:3], *undisturbed[2:]]


def test_p4_a_lasting_500_on_page_3_gives_no_part_of_the_range(venue: AlpacaLookAlike):
    venue.play(None, None)
    venue.stay(status(500))
    with pytest.raises(SourceError, match="HTTP 500"):
        fetch(source_of(venue))
    assert len(venue.requests) == 2 + RETRY.tries


def test_p4_an_empty_middle_window_is_a_gap_and_not_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alpaca_source, "MOST_ROWS", 100)
    hole = frozenset(START + timedelta(hours=h) for h in range(50, 390))
    said: list[str] = []
    with AlpacaLookAlike(Market(now=NOW, first=START, holes=hole)) as venue:
        bars = fetch(source_of(venue, tell=said.append))
        pd.testing.assert_frame_equal(bars, truth(venue))
    assert len(bars) == 480 - 340
    assert any("340 from 2024-01-03T02:00Z" in line for line in said)


class Vacant(AlpacaLookAlike):
    """Sends pages without bars before the right ones, each with a token for the next."""

    def __init__(self, market: Market, *, tokens: list[str]) -> None:
        super().__init__(market)
        self.tokens = tokens

    def answer(self, request: Request, alter: Any) -> Any:
        given = request.query.get("page_token")
        place = 0 if given is None else self.tokens.index(given) + 1
        if place < len(self.tokens):
            return {"bars": {}, "next_page_token": self.tokens[place]}
        without = {key: value for key, value in request.query.items() if key != "page_token"}
        return super().answer(dataclasses.replace(request, query=without), alter)


def test_p4_behind_an_empty_page_with_a_token_lie_bars(venue: AlpacaLookAlike):
    with Vacant(venue.market, tokens=["a", "b"]) as vacant:
        end = START + timedelta(days=5)
        pd.testing.assert_frame_equal(fetch(source_of(vacant), end=end), truth(venue, end))
        assert [request.query.get("page_token") for request in vacant.requests] == [None, "a", "b"]
        vacant.play(None, None, status(500))
        pd.testing.assert_frame_equal(fetch(source_of(vacant), end=end), truth(venue, end))


def test_p11_a_page_token_that_repeats_ends_in_a_named_error(venue: AlpacaLookAlike):
    venue.stay(Fault("repeats", body=b'{"bars": {}, "next_page_token": "QlRD"}'))
    with pytest.raises(SourceError, match=r"the same page token twice and no bars of BTC-USD.*run it again later"):
        fetch(source_of(venue))
    assert len(venue.requests) == 2


def test_p11_empty_pages_with_ever_new_tokens_end_in_a_named_error(venue: AlpacaLookAlike):
    with Vacant(venue.market, tokens=[f"t{k}" for k in range(1000)]) as vacant:
        with pytest.raises(SourceError, match="sent 20 page tokens and no bars"):
            fetch(source_of(vacant))
        assert len(vacant.requests) == 21


def test_p11_a_page_that_comes_again_and_again_ends_in_a_named_error(venue: AlpacaLookAlike):
    first = {"t": "2024-01-01T00:00:00Z", "o": 2, "h": 3, "l": 1, "c": 2, "v": 7, "n": 3, "vw": 2}
    venue.stay(Fault("same page", body=json.dumps({"bars": {"BTC/USD": [first]}, "next_page_token": "QlRD"}).encode()))
    with pytest.raises(SourceError, match="the cursor would stand still"):
        fetch(source_of(venue))
    assert len(venue.requests) == 2


def secretive(venue: AlpacaLookAlike, **given: Any) -> AlpacaSource:
    return source_of(venue, key=SecretStr(KEY), secret=SecretStr(SECRET), **given)


def everything_said_by(error: BaseException) -> str:
    """Messages, causes, contexts, attributes and the locals of every frame but the test's own."""
    assert error.__traceback__ is not None
    error = error.with_traceback(error.__traceback__.tb_next)
    told, seen, open_ends = [], set(), [error]
    while open_ends:
        one = open_ends.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        told += [str(one), repr(one), repr(vars(one)), repr(one.args)]
        told += traceback.TracebackException.from_exception(one, capture_locals=True).format()
        assert not type(one).__module__.startswith(("requests", "alpaca")), "it carries the request and its headers"
        open_ends += [other for other in (one.__cause__, one.__context__) if other is not None]
    return "\n".join(told)


ECHO = json.dumps({"message": f"bad pair {KEY} / {SECRET}"}).encode()


@pytest.mark.parametrize(
    "fault",
    [*REFUSALS, *BROKEN, *(status(code, body=ECHO) for code in (400, 401, 403, 404, 422, 429, 451, 500))],
    ids=name,
)
def test_p9_no_fault_brings_the_keys_out_of_memory(
    venue: AlpacaLookAlike, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], fault: Fault
):
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    source = secretive(venue, tell=said.append)
    venue.play(None)
    venue.stay(fault)
    with pytest.raises(CappuccinoError) as caught:
        fetch(source)
    assert venue.requests[-1].headers["apca-api-secret-key"] == SECRET, "else the test proves nothing"
    shown = [repr(source), repr(vars(source)), str(source.identity()), source.label, *said]
    shown += [caplog.text, *capfd.readouterr(), *(str(request.query) for request in venue.requests)]
    for text in (*shown, everything_said_by(caught.value)):
        assert KEY not in text
        assert SECRET not in text


def test_p9_after_a_fetch_no_object_within_reach_holds_the_keys_in_the_clear(venue: AlpacaLookAlike):
    source = secretive(venue)
    fetch(source)
    assert {type(each) for each in vars(source).values()} <= {
        datetime, ManualClock, tuple, str, RetrySettings, type(print), type(fetch)
    }  # fmt: skip
    assert all(isinstance(each, SecretStr) for each in source._keys or ())


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}é", f"{KEY}\x00"])
def test_p9_a_key_no_header_can_carry_is_refused_without_being_quoted(venue: AlpacaLookAlike, key: str):
    with pytest.raises(ConfigurationError, match="APCA_API_KEY_ID holds a blank") as caught:
        source_of(venue, key=SecretStr(key), secret=SecretStr(SECRET))
    assert KEY not in everything_said_by(caught.value).replace(repr(key), "")


@pytest.mark.parametrize("code", [401, 403])
def test_refused_keys_are_one_error_at_once_that_names_the_variables(venue: AlpacaLookAlike, code: int):
    venue.stay(status(code))
    for source, what in ((secretive(venue), "refused the keys"), (source_of(venue), "wants keys")):
        with pytest.raises(SourceError, match=rf"{what} \(HTTP {code}\).*APCA_API_KEY_ID and APCA_API_SECRET_KEY"):
            fetch(source)
    assert len(venue.requests) == 2


def test_the_venue_that_wants_keys_gets_them():
    with AlpacaLookAlike(Market(now=NOW, first=START), keys=(KEY, SECRET)) as venue:
        pd.testing.assert_frame_equal(fetch(secretive(venue)), truth(venue))
        with pytest.raises(SourceError, match="wants keys"):
            fetch(source_of(venue))
        assert {request.path for request in venue.requests} == {PATH}


def test_p11_a_server_that_is_not_there_is_a_named_error():
    with AlpacaLookAlike(Market(now=NOW, first=START)) as venue:
        source = source_of(venue)
    with pytest.raises(SourceError, match="a connection refused or cut"):
        fetch(source)


def test_p12_the_connection_is_closed_after_the_bars_and_after_a_fault(
    venue: AlpacaLookAlike, monkeypatch: pytest.MonkeyPatch
):
    closed: list[requests.Session] = []

    def close(session: requests.Session) -> None:
        closed.append(session)

    monkeypatch.setattr(requests.Session, "close", close)
    fetch(source_of(venue))
    venue.stay(server.HTML)
    with pytest.raises(SourceError):
        fetch(source_of(venue))
    assert len(closed) == 2
