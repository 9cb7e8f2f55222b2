"""Pages and quirks of exchanges, over HTTP and through the service: no row, no order, and the lake as it was."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lookalikes.alpaca import AlpacaLookAlike
from lookalikes.binance import Binance
from lookalikes.kraken import Kraken
from lookalikes.server import HTML, TRUNCATED, Fault, LookAlike, Market, status

from cappuccino_ml.bars import (
    AlpacaSource,
    BarPanel,
    BarSource,
    CcxtSource,
    Universe,
    bars_table,
    ingest_month,
    read_bars,
)
from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import CappuccinoError, ManualClock
from cappuccino_ml.trading import Ledger, SourceFeed

from .conftest import FIRST, always
from .shop import HOUR, Shop, keyed

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
END = SINCE + (FIRST + 9) * HOUR
RETRY = RetrySettings(tries=2, first_wait_s=0.0)
SAME_TOKEN = Fault("the same page token again", body=b'{"bars": {}, "next_page_token": "QlRD"}')
QUIET = Fault("no bars, said with 200", body=b'{"error":[],"result":{}}')
VENUES = {"alpaca": (AlpacaLookAlike, "USD"), "binance": (Binance, "USDT"), "kraken": (Kraken, "USD")}
FAULTS = {
    "26 a page token that repeats": ("alpaca", 0, SAME_TOKEN),
    "26 a 500 on page 3": ("alpaca", 2, status(500)),
    "27 HTML with 200": ("binance", 0, HTML),
    "27 cut JSON": ("binance", 0, TRUNCATED),
    "27 a quiet nothing": ("kraken", 0, QUIET),
    "27 a refusal": ("binance", 0, status(451)),
}


class Following:
    """The source's bars; the venue's present is the trader's."""

    def __init__(self, venue: LookAlike, feed: SourceFeed) -> None:
        self.venue, self.feed = venue, feed

    def panel(self, now: datetime) -> BarPanel:
        self.venue.market.now = now
        return self.feed.panel(now)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("name", FAULTS)
def test_fault_26_27_p4_p5_pages_and_quirks_write_no_row_send_no_order_and_leave_the_lake_as_it_is(
    tmp_path: Path, stack: ExitStack, name: str
):
    kind, pages, fault = FAULTS[name]
    venue_type, quote = VENUES[kind]
    pages_of = {"page_rows": (10,)} if kind == "alpaca" else {}
    venue = stack.enter_context(venue_type(Market(now=END, first=SINCE), **pages_of))
    universe = Universe(tickers=("BTC", "ETH"), quote=quote)
    parts = {"since": SINCE, "url": venue.url, "retry": RETRY, "sleep": lambda seconds: None}

    def source_at(clock: ManualClock) -> BarSource:
        return AlpacaSource(clock=clock, **parts) if kind == "alpaca" else CcxtSource(kind, clock=clock, **parts)

    source = source_at(ManualClock(END))
    lake = bars_table(tmp_path / "lake", source=source, universe=universe)
    ingest_month(source, lake, universe, "2024-01", now=SINCE + 300 * HOUR)
    files = {path: path.read_bytes() for path in lake.folder.iterdir()}

    def feed_of(source: BarSource) -> SourceFeed:
        return SourceFeed(source, universe, history=lambda since: read_bars(lake, start=since), since=SINCE)

    shop = Shop(tmp_path, feed_of(source).panel(END), models={"1": keyed("1", universe=universe, rule=always(1, 1))})
    shop.feed = Following(venue, feed_of(source_at(shop.clock)))
    shop.deploy("1")
    begin = shop.clock.now()

    def fails() -> None:
        venue.play(*[None] * pages)
        venue.stay(fault)

    # One close is missed, then two in a row.
    for bars, happens in ((0, fails), (1, lambda: venue.stay(None)), (2, fails), (4, lambda: venue.stay(None))):
        shop.at[begin + (bars + 0.5) * HOUR] = happens
    asked = Counter(request.path for request in venue.requests)
    health = shop.run(bars=7)
    assert sum((Counter(request.path for request in venue.requests) - asked).values()) > 20
    assert health.errors > 0
    with Ledger(shop.root / "ledger.db", durable=False) as ledger:
        ledger.verify()
        rows = list(ledger.rows())
    written = {k: [row.kind for row in rows if k * HOUR <= row.at - begin < (k + 1) * HOUR] for k in range(7)}
    assert [k for k in written if "decision" in written[k]] == [0, 2, 5, 6]
    assert written[1] == written[3] == [], "a close without bars writes nothing"
    assert set(written[4]) <= {"alarm", "stale"}, "at the second one the last bar is stale"
    fails()
    with pytest.raises(CappuccinoError):  # the lake's own reader meets the same fault
        ingest_month(source, lake, universe, "2024-01", now=END)
    assert {path: path.read_bytes() for path in lake.folder.iterdir()} == files
