"""Nobody at the keyboard: a real trader by a running clock, killed again and again, and restarted by its sensor."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from lookalikes.alpaca import AlpacaLookAlike
from lookalikes.alpaca_paper import Asset, PaperLookAlike
from lookalikes.server import Fault, Market, Request
from pydantic import SecretStr

from cappuccino_ml.bars.schema import empty_bars
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import Clock
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import Actor
from cappuccino_ml.trading import SourceFeed, TradingState, faults_of, read_deployment, read_health, read_ledger
from cappuccino_ml.trading.decision import GoSettings
from cappuccino_ml.trading.ledger import Row
from cappuccino_ml.trading.live import live_rows, store_live
from cappuccino_ml.trading.orders import OPEN
from cappuccino_ml.trading.paper import PaperReport
from cappuccino_pipeline import supervision, trader
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.paper import judge_session
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.sensors import watch_trader
from cappuccino_pipeline.supervision import read_wish

from .test_trader import deploy
from .unattended_child import FastClock

KEYS = ("PKUNATTENDED", "secret")
MINUTE = timedelta(minutes=1)
PATIENCE_S = 600.0  # for something that takes seconds on a machine that does nothing else
CUT_AFTER_IT_WAS_TAKEN = Fault("cut", reset=True, after=True)


class RunningMarket(Market):
    """Its present is a clock's."""

    def __init__(self, clock: Clock, *, first: datetime) -> None:
        self.clock = clock
        super().__init__(now=clock.now(), first=first)

    now = property(lambda self: self.clock.now(), lambda self, given: None)  # type: ignore[assignment]


class Venue(PaperLookAlike):
    """Asks the open of the forming minute; kills the process that posts, when told to, and takes its order."""

    victim: int | None = None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST" and self.victim is not None:
            os.kill(self.victim, signal.SIGKILL)
            self.victim = None
        super()._serve(handler)

    def _route(self, request: Request) -> Any:
        for name, asset in self.assets.items():
            (forming,) = self.market.rows(
                name.replace("/", "-"), MINUTE, since=int((self.market.now - MINUTE).timestamp() * 1000) + 1
            )
            asset.ask = Decimal(str(forming[1]))
        return super()._route(request)


class Night:
    """One account over the night, looked after by nothing but the sensor."""

    def __init__(self, cappuccino: Cappuccino, venue: Venue) -> None:
        self.cappuccino, self.configuration, self.venue = cappuccino, cappuccino.configuration, venue
        self._cursor: str | None = None

    @property
    def pid(self) -> int:
        wish = read_wish(self.configuration)
        assert wish is not None
        return wish.pid

    def rows(self) -> list[Row]:
        return read_ledger(self.configuration.ledger_file)

    def decided(self) -> list[str]:
        return [row.payload["bar_close"] for row in self.rows() if row.kind == "decision"]

    def until(self, seen: Callable[[], bool], what: str) -> None:
        """Let the sensor tick until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not seen():
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
            tick = watch_trader(dg.build_sensor_context(cursor=self._cursor, resources={"cappuccino": self.cappuccino}))
            assert isinstance(tick, dg.SensorResult)
            self._cursor = tick.cursor
            time.sleep(1.0)

    def trade(self, bars: int) -> None:
        """Until so many more bars were decided on."""
        enough = len(self.decided()) + bars if self.configuration.ledger_file.exists() else bars
        self.until(lambda: self.configuration.ledger_file.exists() and len(self.decided()) >= enough, f"{bars} bars")

    def kill(self) -> None:
        """SIGKILL, then until another process is there in its place and has said a word."""
        dead = self.pid
        os.kill(dead, signal.SIGKILL)
        self.replaced(dead)

    def replaced(self, dead: int) -> None:
        def speaks() -> bool:
            health = read_health(self.configuration.health_file)
            return self.pid != dead and health is not None and health.pid == self.pid

        self.until(speaks, f"another process than {dead}")


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Night]:
    since = datetime.now(UTC)
    clock = FastClock(since)
    first = datetime(since.year, since.month, since.day, tzinfo=UTC) - timedelta(days=2)
    market = RunningMarket(clock, first=first)
    assets = [Asset(f"{ticker}/USD", Decimal(100)) for ticker in ("BTC", "ETH")]
    with (
        Venue(market, assets=assets, cash=Decimal(100_000), keys=KEYS) as venue,
        AlpacaLookAlike(market, keys=KEYS) as bars,
    ):
        configuration = Configuration(
            state=tmp_path / "state",
            source="alpaca",
            since=first,
            url=bars.url,
            universe=Universe(tickers=("BTC", "ETH"), timeframe="1m"),
            broker="alpaca",
            alpaca_key=SecretStr(KEYS[0]),
            alpaca_secret=SecretStr(KEYS[1]),
        )
        deploy(configuration)
        child = (sys.executable, "-m", "tests.pipeline.unattended_child", venue.url, since.isoformat())
        monkeypatch.setattr(supervision, "COMMAND", child)
        night = Night(Cappuccino(configuration, clock=clock), venue)
        monkeypatch.setattr(night.cappuccino, "aliases", lambda: {"challenger": "1"})
        yield night
        for process in supervision._started:
            process.kill()
            process.wait()
        supervision._started.clear()


def report_on(night: Night, rows: list[Row], folder: Path) -> PaperReport:
    """As `paper_trading_report` makes it, on bars that come from the source and not from a lake."""
    configuration, source = night.configuration, night.cappuccino.live_source
    feed = SourceFeed(source, configuration.universe, history=lambda since: empty_bars(), since=configuration.since)
    panel, actor = feed.panel(night.cappuccino.clock.now()), Actor.load(configuration.models_root / "1")
    table = MarketTable.from_panel(panel)
    found = store_live(
        folder / "sessions",
        actor=actor,
        model_version="1",
        rows=rows,
        panel=panel,
        table=table,
        label="paper session",
    )
    assert found is not None
    session, held_in = found
    return judge_session(
        session,
        held_in=held_in,
        rows=live_rows(rows, version="1"),
        actor=actor,
        panel=panel,
        table=table,
        drills=folder / "drills",
        settings=GoSettings(resamples=199),
        source="a look-alike of Alpaca",
        replayed=False,
        deployment=read_deployment(configuration.deployment_record),
        champion=(None, "no version is champion"),
        drifts=((), "the agent was not trained"),
    )


@pytest.mark.slow
def test_p1_p2_p3_fault_05_06_an_unattended_trader_survives_three_kills_with_one_book_and_a_report(
    night: Night, tmp_path: Path
) -> None:
    configuration, venue = night.configuration, night.venue
    assert trader.start(configuration).startswith("started")
    night.trade(bars=2)
    night.kill()  # between two bars
    night.trade(bars=2)
    venue.victim = dead = night.pid  # while an order is on its way: the venue takes it, nobody hears the answer
    night.replaced(dead)
    assert venue.victim is None
    night.trade(bars=1)
    venue.play_posts(CUT_AFTER_IT_WAS_TAKEN)
    night.trade(bars=2)
    night.kill()
    night.trade(bars=2)
    wish = read_wish(configuration)
    assert wish is not None
    assert len(wish.restarts) == 3
    assert "STOPPED (asked to stop)" in trader.stop(configuration)
    assert not supervision.keep_running(night.cappuccino), "it was stopped by a person"

    rows = night.rows()
    ends = {row.payload["id"]: row.payload for row in rows if row.kind == "order"}
    bars = night.decided()
    print(Counter(row.kind for row in rows), len(bars), len(venue.orders), len(venue.posts()))
    assert len(bars) == len(set(bars)) >= 9, "no bar was decided twice"
    assert set(venue.orders) <= set(ends), "no order that the ledger does not know"
    legs = Counter((end["bar_close"], end["symbol"], end["side"]) for end in ends.values())
    assert set(legs.values()) == {1}, "no order was placed twice"
    assert not {end["path"][-1] for end in ends.values()} & {str(status) for status in OPEN}, "every order has an end"
    for key, order in venue.orders.items():
        assert Decimal(ends[key]["filled"]) == order.filled
    book = TradingState.replay(rows)
    assert book.positions == {name.replace("/", "-"): units for name, units in venue.units.items()}
    assert not book.stopped
    assert [row.kind for row in rows][-1] == "stopped"
    assert len(venue.orders) > 5

    report = report_on(night, rows, tmp_path)
    print(report.decision.sentence, report.faults)
    assert faults_of(rows).crashes == report.faults.crashes == 3
    assert report.decision.outcome == "no-go", "a session with crashes is no go"
    assert report.session.comparison.unexplained == 0
    assert report.session.comparison.bars >= len(bars) - 1
    assert np.isfinite(report.session.comparison.total_return)
