"""The HTTP adapter: a flood of bytes ends at its bound, packed or not, and says so in words without a url."""

import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from lookalikes.alpaca import AlpacaLookAlike
from lookalikes.binance import Binance
from lookalikes.server import HOUR, Fault, LookAlike, Market, Request, Row

from cappuccino_ml.bars.alpaca_source import AlpacaSource
from cappuccino_ml.bars.bounded import MOST_BYTES, BodyError, BoundedAdapter
from cappuccino_ml.bars.ccxt_source import CcxtSource
from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.bars.source import BarSource
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ManualClock, SourceError

MARKET = Market(now=datetime(2024, 3, 1, tzinfo=UTC), first=datetime(2024, 1, 1, tzinfo=UTC))
LIMIT = 1_000_000
PACKED = {"Content-Encoding": "gzip"}


class Plain(LookAlike):
    """Has one answer."""

    def is_bars(self, path: str) -> bool:
        return True

    def answer(self, request: Request, alter: Callable[[list[Row]], list[Row]]) -> Any:
        return {}


@pytest.fixture
def venue() -> Iterator[Plain]:
    with Plain(MARKET) as venue:
        yield venue


def get(venue: LookAlike, fault: Fault) -> bytes:
    venue.play(fault)
    with requests.Session() as session:
        session.mount("http://", BoundedAdapter(silence_s=5, answer_s=5, most_bytes=LIMIT))
        return session.get(f"{venue.url}/CANARY").content


def packed(size: int) -> Fault:
    return Fault("packed", body=gzip.compress(b" " * size), headers=PACKED)


def test_p11_a_body_is_read_up_to_its_bound_packed_or_not(venue: Plain):
    for fault in (packed(LIMIT), Fault("plain", body=b" " * LIMIT)):
        assert get(venue, fault) == b" " * LIMIT
    for fault in (packed(LIMIT + 1), Fault("plain", body=b" " * (LIMIT + 1))):
        with pytest.raises(BodyError, match=r"^an answer of more than 1,000,000 bytes$"):
            get(venue, fault)


def test_p11_a_few_packed_bytes_never_fill_the_memory(venue: Plain):
    bomb = packed(100 * LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(BodyError):
            get(venue, bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()


def test_p11_a_body_that_cannot_be_unpacked_is_named(venue: Plain):
    with pytest.raises(BodyError, match=r"^a body that cannot be unpacked$"):
        get(venue, Fault("not packed", body=b"[]", headers=PACKED))


@pytest.mark.parametrize("speaker", [Binance, AlpacaLookAlike])
@pytest.mark.parametrize(
    ("fault", "words"),
    [(packed(MOST_BYTES + 1), "more than 64,000,000 bytes"), (Fault("x", body=b"[]", headers=PACKED), "be unpacked")],
    ids=["flood", "not packed"],
)
def test_p11_such_an_answer_is_asked_for_again_and_then_one_named_error(
    speaker: type[LookAlike], fault: Fault, words: str
):
    with speaker(MARKET) as venue:
        common: dict[str, Any] = {"since": MARKET.first, "clock": ManualClock(MARKET.now), "url": venue.url}
        common |= {"retry": RetrySettings(tries=2), "sleep": lambda seconds: None}
        source: BarSource = CcxtSource("binance", **common) if speaker is Binance else AlpacaSource(**common)
        symbol = "BTC-USDT" if speaker is Binance else "BTC-USD"
        universe, span = Universe(tickers=("BTC",), quote=symbol[4:]), (MARKET.first, MARKET.first + 9 * HOUR)
        venue.play(fault)
        fetched = source.fetch(symbol=symbol, universe=universe, start=span[0], end=span[1])
        assert len(fetched) == 9
        venue.stay(fault)
        with pytest.raises(SourceError, match=rf"no usable answer in 2 tries .*{words}"):
            source.fetch(symbol=symbol, universe=universe, start=span[0], end=span[1])
        assert len(venue.asked()) == 4
