"""The whole trader on Alpaca's look-alike through alpaca-py, over real HTTP, while network and venue misbehave."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from lookalikes import server
from lookalikes.alpaca_paper import AT_ONCE, Asset, PaperLookAlike, Plan
from lookalikes.server import Fault, Market, status
from pydantic import SecretStr

from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import ManualClock, TradingError
from cappuccino_ml.trading import AlpacaBroker, Mode, Status
from cappuccino_ml.trading.feed import close_time

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, make_panel
from .faulty import last_statuses, state_of
from .order_faults import ACTIONS

KEYS = ("PKCANARY0KEY", "canary+secret/0123456789")
QUICK = RetrySettings(tries=3, first_wait_s=0.5, timeout_s=0.2)
PANEL = make_panel(filled=0.0, bars=480)
ECHO = json.dumps({"code": 40310000, "message": "insufficient balance for " + " ".join(KEYS)}).encode()
NETWORK = {
    "cut after it was accepted": replace(server.RESET, after=True),
    "cut before": server.RESET,
    "silence after it was accepted": replace(server.SILENCE, after=True),
    "504 after it was accepted": Fault("504, accepted", status=504, body=b"<html>504</html>", after=True),
    "504": status(504),
    "HTML": replace(server.HTML, after=True),
    "empty": replace(server.EMPTY, after=True),
    "cut short": server.TRUNCATED,
    "fewer bytes than promised": server.SHORT_BODY,
    "redirect": status(302, body=b"", Location="http://127.0.0.1:9/"),
    "429": status(429),
    "insufficient balance, with the keys in its words": Fault("403", status=403, body=ECHO),
}
PLANS: dict[str, Plan] = {
    "pending, then filled": AT_ONCE,
    "a part, silence, the rest": [
        ("0", "new"),
        ("0.4", "partially_filled"),
        ("0.4", "partially_filled"),
        ("1", "filled"),
    ],
    "cancelled part-filled": [("0", "pending_new"), ("0.3", "canceled")],
    "an unknown word, then filled": [("0", "teleported"), ("1", "filled")],
    "rejected": [("0", "pending_new"), ("0", "rejected")],
    "expired": [("0", "new"), ("0.7", "expired")],
}


class VenueClock(ManualClock):
    """One time for the trader and the venue; the venue's asks are the opens of the bar that is forming."""

    venue: PaperLookAlike

    def set(self, moment: datetime) -> None:
        super().set(moment)
        self.venue.market.now = moment
        row = int(np.searchsorted(PANEL.timestamps, np.datetime64(moment.replace(tzinfo=None)), side="right")) - 1
        for column, asset in enumerate(self.venue.assets.values()):
            asset.ask = Decimal(repr(round(float(PANEL.open[row, column]), 2)))


@pytest.fixture
def venue() -> Iterator[PaperLookAlike]:
    assets = [Asset(f"{ticker}/USD", Decimal(1)) for ticker in PANEL.universe.tickers]
    now = close_time(PANEL, FIRST)
    with PaperLookAlike(Market(now=now, first=now), assets=assets, cash=Decimal(100_000), keys=KEYS) as venue:
        yield venue


@pytest.fixture
def desk(venue: PaperLookAlike, tmp_path: Path) -> Iterator[Desk]:
    clock = VenueClock(close_time(PANEL, FIRST))
    clock.venue = venue
    clock.set(clock.now())
    made = Desk(panel=PANEL, actor=FakeActor(), path=tmp_path / "ledger.db", clock=clock, broker=None)
    made.broker = AlpacaBroker(
        key=SecretStr(KEYS[0]),
        secret=SecretStr(KEYS[1]),
        clock=clock,
        url=venue.url,
        data_url=venue.url,
        retry=QUICK,
        sleep=made.sleep,
    )
    made.actor.rule = lambda window, entries: np.array(ACTIONS.get(made.row, (0.0, 0.0, 0.0)))
    yield made
    made.close()
    made.broker.close()


def run(desk: Desk, *, bars: int = 4) -> list[TradingError]:
    trader, errors = desk.open(), []
    for row in range(FIRST, FIRST + bars):
        desk.at(row)
        try:
            trader.tick()
        except TradingError as error:
            errors.append(error)
    return errors


def check(desk: Desk, venue: PaperLookAlike) -> None:
    """P1: ids are unique at the venue. P2: every intent ended. P3: one book."""
    ends = last_statuses(desk)
    assert set(venue.orders) <= set(ends)
    assert not {status for status in ends.values() if status in (Status.INTENT, Status.SENT, Status.UNKNOWN)}
    assert state_of(desk).positions == {name.replace("/", "-"): units for name, units in venue.units.items()}
    posted = [json.loads(request.body) for request in venue.posts()]
    assert all(isinstance(body["qty"], str) and "e" not in body["qty"].lower() for body in posted)


@pytest.mark.parametrize("name", NETWORK)
def test_fault_01_02_03_10_19_p1_p2_p3_over_http(desk: Desk, venue: PaperLookAlike, name: str):
    venue.play_posts(NETWORK[name], None, NETWORK[name])
    assert run(desk) == []
    check(desk, venue)
    assert venue.units
    assert len(venue.posts()) <= 7  # five orders; the two that went wrong at most once more each


@pytest.mark.parametrize("name", PLANS)
def test_fault_09_11_12_15_p3_whatever_becomes_of_an_order(desk: Desk, venue: PaperLookAlike, name: str):
    venue.plans.extend([PLANS[name]] * 5)
    assert run(desk) == []
    check(desk, venue)


def test_fault_13_p3_a_cancel_that_loses_the_race_is_booked_as_filled(desk: Desk, venue: PaperLookAlike):
    venue.plans.extend([[("0.4", "partially_filled"), ("0.4", "race"), ("1", "filled")]] * 2)
    assert run(desk) == []
    check(desk, venue)
    assert "DELETE" in {request.method for request in venue.requests}
    assert Status.FILLED in last_statuses(desk).values()


def test_fault_04_p1_a_used_id_over_http_is_read_back(desk: Desk, venue: PaperLookAlike):
    run(desk, bars=1)
    posted = len(venue.posts())
    desk.close()
    for path in desk.path.parent.glob("ledger.db*"):
        path.unlink()  # a lost ledger: the same intents, the same ids
    with pytest.raises(TradingError):
        desk.open().tick()
    ids = [json.loads(request.body)["client_order_id"] for request in venue.posts()]
    assert len(venue.posts()) > posted
    assert set(ids[posted:]) <= set(ids[:posted])
    assert len(venue.orders) == posted


def test_fault_21_p7_p9_refused_keys_halt(desk: Desk, venue: PaperLookAlike):
    trader = desk.open()
    venue.keys = ("other", "pair")
    with pytest.raises(TradingError, match="halted: alpaca refuses the keys"):
        trader.tick()
    assert trader.mode == Mode.HALTED
    assert venue.posts() == []


def test_fault_30_p9_no_canary_key_is_found_anywhere_after_all_faults(
    desk: Desk, venue: PaperLookAlike, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    said = []
    desk.actor.rule = lambda window, entries: np.array([1.0, 1.0, 1.0]) if desk.row % 2 else np.array([-1.0] * 3)
    echoes = [Fault(f"echo {code}", status=code, body=ECHO) for code in (400, 403, 404, 422, 429, 500)]
    trader = desk.open()
    faults = [*NETWORK.values(), *echoes]
    for offset, (post, question) in enumerate(
        [*((fault, None) for fault in faults), *((None, fault) for fault in [*faults, status(401, body=ECHO)])]
    ):
        desk.at(FIRST + offset)
        venue.play_posts(post, post)
        venue.play(question, bars=False)
        try:
            trader.tick()
        except TradingError as error:
            said += traceback.format_exception(error)
    desk.close()
    files = [path for path in desk.path.parent.rglob("*") if path.is_file()]
    text = "\n".join([*said, *desk.told, caplog.text, repr(desk.broker), repr(trader)]).encode()
    assert len(venue.posts()) > 30
    assert trader.mode == Mode.HALTED
    assert any(path.name == "ledger.db" and path.stat().st_size > 8192 for path in files)
    for key in KEYS:
        assert key.encode() not in text
        assert [path.name for path in files if key.encode() in path.read_bytes()] == []


def nulls(venue: PaperLookAlike) -> None:
    real = PaperLookAlike._post
    empty = dict.fromkeys(("status", "filled_qty", "submitted_at"))
    venue._post = lambda request: {**real(venue, request), **empty}  # type: ignore[method-assign]


def echoes(venue: PaperLookAlike) -> None:
    venue.play_posts(NETWORK["insufficient balance, with the keys in its words"], None)
    venue.play(None, None, None, Fault("500", status=500, body=ECHO), bars=False)


def posts(name: str) -> Callable[[PaperLookAlike], None]:
    return lambda venue: venue.play_posts(NETWORK[name], None, NETWORK[name])


CRASHES = {
    "03 504": posts("504 after it was accepted"),
    "09 null fields": nulls,
    "10 HTML": posts("HTML"),
    "10 nothing": posts("empty"),
    "10 a redirect": posts("redirect"),
    "30 the keys in the venue's words": echoes,
}
QUICKEST = "30 the keys in the venue's words"


@pytest.mark.usefixtures("quick_features")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == QUICKEST else pytest.mark.slow) for name in CRASHES]
)
def test_p1_p2_p3_p9_faults_over_http_with_a_crash_at_every_ledger_write_and_no_canary_key_after_them(
    desk: Desk, venue: PaperLookAlike, caplog: pytest.LogCaptureFixture, name: str
):
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    row, deaths, most = FIRST, 0, 1

    def tick(wish: float, **watch: object) -> bool:
        """Whether the trader died at the write it was to die at."""
        desk.actor.rule = lambda window, entries: np.full(3, wish)
        venue._post_faults.clear()
        venue._scripts[False].clear()
        CRASHES[name](venue)
        try:
            desk.open(ledger_type=CrashingLedger, **watch).tick()
        except (CrashError, TradingError) as error:
            said.extend(traceback.format_exception(error))
            return isinstance(error, CrashError)
        return False

    write = 0
    while write < most:  # of them in the longest tick so far
        write += 1
        for wish in (1.0, -1.0):
            for after in (False, True):
                desk.at(row)
                row += 1
                deaths += tick(wish, crash_at=write, after=after)
                tick(wish)
                most = max(most, desk.ledger.count)  # type: ignore[union-attr]
    desk.at(row)
    venue._post_faults.clear()
    venue._scripts[False].clear()
    desk.actor.rule = lambda window, entries: np.zeros(3)
    desk.open().tick()
    check(desk, venue)
    assert deaths > 20
    desk.close()
    text = "\n".join([*said, *desk.told, caplog.text]).encode()
    files = [path for path in desk.path.parent.rglob("*") if path.is_file()]
    for key in KEYS:
        assert key.encode() not in text
        assert [path.name for path in files if key.encode() in path.read_bytes()] == []
