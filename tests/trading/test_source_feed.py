"""Bars straight from an exchange over real HTTP: late, revised, shuffled, cut off, and a history that ends early."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lookalikes.binance import Binance
from lookalikes.server import HTML, REPEATED, REVISED, TRUNCATED, UNORDERED, Fault, status
from lookalikes.simulated_market import SimulatedMarket

from cappuccino_ml.bars import BarPanel, CcxtSource, Universe, bars_table, ingest_month, read_bars, read_panel
from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.bars.schema import empty_bars
from cappuccino_ml.core import ManualClock, SourceError
from cappuccino_ml.features import CONTEXT_BARS
from cappuccino_ml.trading import BrokerSilentError, SourceFeed, SourceQuotes

HOUR = timedelta(hours=1)
SINCE = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 3, 10, 5, 0, 10, tzinfo=UTC)
PAIR = Universe(tickers=("BTC", "ETH"), quote="USDT")


@pytest.fixture
def venue() -> Iterator[Binance]:
    with Binance(SimulatedMarket(now=NOW, first=SINCE)) as venue:
        yield venue


def source_over(venue: Binance, clock: ManualClock) -> CcxtSource:
    return CcxtSource(
        "binance",
        since=SINCE,
        clock=clock,
        url=venue.url,
        retry=RetrySettings(tries=2, first_wait_s=0.0),
        sleep=lambda seconds: None,
    )


def feed_over(venue: Binance, clock: ManualClock, **parts: object) -> SourceFeed:
    settings = {"history": lambda since: empty_bars(), "since": SINCE, **parts}
    return SourceFeed(source_over(venue, clock), PAIR, **settings)  # type: ignore[arg-type]


def assert_same(one: BarPanel, other: BarPanel) -> None:
    for name in ("timestamps", "open", "high", "low", "close", "volume", "is_filled"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_it_gives_what_the_lake_would_and_asks_for_the_newest_day_only(tmp_path: Path, venue: Binance) -> None:
    clock = ManualClock(NOW)
    source = source_over(venue, clock)
    table = bars_table(tmp_path, source=source, universe=PAIR)
    for month in ("2024-01", "2024-02"):
        ingest_month(source, table, PAIR, month, now=NOW)
    feed = feed_over(venue, clock, history=lambda since: read_bars(table, start=since))
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    feed.panel(NOW)
    before = len(venue.asked())
    clock.set(NOW + HOUR)
    venue.market.now = clock.now()
    panel = feed.panel(clock.now())
    assert len(venue.asked()) - before == len(PAIR.symbols)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files, "P4: the lake is read"
    assert panel.timestamps[-1] == np.datetime64("2024-03-10T05:00")
    assert len(panel) == CONTEXT_BARS
    ingest_month(source, table, PAIR, "2024-03", now=clock.now())
    stored = read_panel(table, PAIR)
    assert_same(panel, stored.slice(len(stored) - CONTEXT_BARS, len(stored)))


@pytest.mark.parametrize("fault", [UNORDERED, REPEATED, REVISED], ids=lambda fault: fault.name)
def test_fault_25_p4_rows_in_any_order_and_number_are_the_same_bars(venue: Binance, fault: Fault) -> None:
    clean = feed_over(venue, ManualClock(NOW)).panel(NOW)
    venue.stay(fault)
    assert_same(feed_over(venue, ManualClock(NOW)).panel(NOW), clean)


@pytest.mark.parametrize("fault", [HTML, TRUNCATED, status(503), status(451)], ids=lambda fault: fault.name)
def test_fault_26_27_p4_p5_an_answer_that_is_none_is_no_panel_and_spoils_nothing(venue: Binance, fault: Fault) -> None:
    clock = ManualClock(NOW)
    feed = feed_over(venue, clock)
    feed.panel(NOW)
    clock.set(NOW + HOUR)
    venue.market.now = clock.now()
    venue.stay(fault)
    with pytest.raises(SourceError):
        feed.panel(clock.now())
    venue.stay(None)
    assert_same(feed.panel(clock.now()), feed_over(venue, clock).panel(clock.now()))


def test_fault_24_a_symbol_that_is_late_is_marked_and_its_bar_taken_when_it_comes(venue: Binance) -> None:
    clock = ManualClock(NOW)
    real, late = source_over(venue, clock), {"ETH-USDT"}

    class Late:
        """Lacks the newest bar of some symbols."""

        def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
            bars = real.fetch(symbol=symbol, universe=universe, start=start, end=end)
            return bars.iloc[:-1] if symbol in late else bars

    feed = SourceFeed(Late(), PAIR, history=lambda since: empty_bars(), since=SINCE)  # type: ignore[arg-type]
    assert feed.panel(NOW).is_filled[-1].tolist() == [False, True]
    late.clear()
    assert_same(feed.panel(NOW), feed_over(venue, clock).panel(NOW))


def test_p12_who_stops_asks_no_further_question(venue: Binance) -> None:
    with pytest.raises(SourceError, match="asked to stop"):
        feed_over(venue, ManualClock(NOW), give_up=lambda: True).panel(NOW)
    assert venue.asked() == []


def test_a_simulated_broker_is_quoted_the_newest_close_and_silence_where_there_is_none(venue: Binance) -> None:
    clock = ManualClock(NOW)
    newest = feed_over(venue, clock).panel(NOW).close[-1]
    quotes = SourceQuotes(source_over(venue, clock), PAIR, now=clock.now)
    found = quotes(PAIR.symbols)
    assert [float(found[symbol].price) for symbol in PAIR.symbols] == newest.tolist()
    asked = len(venue.asked())
    assert quotes(PAIR.symbols) == found
    assert len(venue.asked()) == asked
    clock.set(NOW + HOUR)
    venue.stay(HTML)
    with pytest.raises(BrokerSilentError):
        quotes(PAIR.symbols)
