"""The Alpaca adapter while things go wrong: one request an order, the right verdict, and no key anywhere."""

import json
import logging
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lookalikes import server
from lookalikes.alpaca_paper import Asset, PaperLookAlike
from lookalikes.server import Fault, Market, status
from pydantic import SecretStr

from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import CappuccinoError, ConfigurationError, ManualClock, TradingError
from cappuccino_ml.trading import (
    AccessRefusedError,
    AlpacaBroker,
    BrokerBusyError,
    BrokerSilentError,
    DuplicateOrderError,
    Order,
    Status,
    alpaca_words,
)

NOW = datetime(2024, 1, 21, 12, 0, 5, tzinfo=UTC)
KEYS = ("PKCANARY0KEY", "canary+secret/0123456789")
QUICK = RetrySettings(tries=3, first_wait_s=1.0, timeout_s=0.2)
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures" / "alpaca"
BUY = Order("cap-1", "BTC-USD", "buy", Decimal("0.1") + Decimal("0.2"))
LONG = ("cap-0", "BTC-USD", "buy", Decimal(1))

AMBIGUOUS = [
    server.RESET,
    server.SILENCE,
    server.HTML,
    server.EMPTY,
    server.TRUNCATED,
    server.SHORT_BODY,
    status(302, body=b"", Location="http://127.0.0.1:9/"),
    status(500),
    status(503, body=b"<html>503</html>"),
    status(504),
    Fault("a list", body=b"[]"),
    Fault("another order", body=b'{"client_order_id": "cap-2", "status": "new", "filled_qty": "0"}'),
]


def name(fault: Fault) -> str:
    return fault.name


@pytest.fixture
def venue() -> Iterator[PaperLookAlike]:
    assets = [Asset("BTC/USD", Decimal(100)), Asset("ETH/USD", Decimal(10))]
    with PaperLookAlike(Market(now=NOW, first=NOW), assets=assets, cash=Decimal(1000), keys=KEYS) as venue:
        yield venue


def broker_of(venue: PaperLookAlike, waits: list[float] | None = None, **given: Any) -> AlpacaBroker:
    clock = ManualClock(NOW)

    def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)
        clock.set(clock.now() + timedelta(seconds=seconds))
        venue.market.now = clock.now()

    settings = {"key": SecretStr(KEYS[0]), "secret": SecretStr(KEYS[1]), "clock": clock, "retry": QUICK} | given
    return AlpacaBroker(url=venue.url, data_url=venue.url, sleep=sleep, **settings)


@pytest.mark.parametrize("fault", AMBIGUOUS, ids=name)
def test_fault_03_fault_10_p1_an_order_is_posted_once_whatever_comes_back(venue: PaperLookAlike, fault: Fault):
    venue.play_posts(fault)
    began = time.monotonic()
    with pytest.raises(BrokerSilentError):
        broker_of(venue).submit(BUY)
    assert time.monotonic() - began < 2  # the SDK alone would wait 3 s between its own four sends
    assert len(venue.posts()) == 1


def test_fault_19_p2_429_is_one_request_and_proves_that_nothing_stands(venue: PaperLookAlike):
    venue.play_posts(status(429))
    broker = broker_of(venue)
    with pytest.raises(BrokerBusyError) as caught:
        broker.submit(BUY)
    assert caught.value.retry_after_s == 55  # till the next minute
    assert len(venue.posts()) == 1
    assert broker.submit(BUY).status == Status.ACKED


def test_fault_20_p11_silence_ends_in_time(venue: PaperLookAlike):
    venue.stay(server.SILENCE, bars=False)
    began = time.monotonic()
    with pytest.raises(BrokerSilentError, match="no answer within"):
        broker_of(venue).order("cap-1")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "words",
    [
        "client_order_id must be unique",
        "client order id already exists",
        "duplicate client_order_id",
        "Client Order ID is a duplicate",
        "client_order_id has been used",
    ],
)
def test_fault_04_p1_a_used_id_is_known_in_every_spelling(venue: PaperLookAlike, words: str):
    broker = broker_of(venue)
    broker.submit(BUY)
    venue.used_id_words = words
    with pytest.raises(DuplicateOrderError):
        broker.submit(BUY)


@pytest.mark.parametrize(
    ("altered", "expected"),
    [
        ({"status": "teleported"}, Status.PARTIAL),
        ({"submitted_at": None}, Status.FILLED),
        ({"status": None, "filled_qty": None}, Status.ACKED),
        ({"status": "filled", "filled_qty": "0"}, Status.ACKED),
        ({"status": "replaced"}, Status.PARTIAL),
    ],
)
def test_fault_09_p2_an_unknown_word_leaves_the_order_open_with_an_alarm(
    venue: PaperLookAlike, altered: dict[str, Any], expected: Status
):
    broker = broker_of(venue)
    broker.submit(BUY)
    venue.orders["cap-1"].altered = altered
    state = broker.order("cap-1")
    assert state is not None
    assert (state.status, bool(state.alarm)) == (expected, True)


def test_fault_22_p6_quantities_leave_as_decimal_strings(venue: PaperLookAlike):
    broker = broker_of(venue)
    broker.submit(BUY)
    broker.submit(Order("cap-2", "BTC-USD", "buy", Decimal("1E-9")))
    assert [json.loads(request.body)["qty"] for request in venue.posts()] == ["0.3", "0.000000001"]


def test_fault_15_fault_17_p3_positions_and_orders_speak_of_the_same_symbol(venue: PaperLookAlike):
    broker = broker_of(venue)
    broker.submit(Order(*LONG))
    state = broker.order("cap-0")
    assert state is not None
    assert state.symbol == "BTC-USD"
    assert broker.positions() == {"BTC-USD": Decimal("0.9975")}


def test_a_resting_sell_holds_coins_back(venue: PaperLookAlike):
    broker = broker_of(venue)
    broker.submit(Order(*LONG))
    broker.order("cap-0")
    venue.plans.append([("0", "new")])
    broker.submit(Order("cap-1", "BTC-USD", "sell", Decimal("0.5")))
    assert broker.account().reserved == {"BTC-USD": Decimal("0.5")}
    assert [state.client_order_id for state in broker.open_orders()] == ["cap-1"]
    broker.cancel("cap-1")
    assert broker.account().reserved == {}


def test_fault_18_p3_no_positions_is_an_error_and_never_flat(venue: PaperLookAlike):
    broker = broker_of(venue)
    broker.submit(Order(*LONG))
    for fault in (status(500), status(404, body=b'{"code":40410000,"message":"position does not exist"}')):
        venue.stay(fault, bars=False)
        with pytest.raises(BrokerSilentError):
            broker.positions()


def test_a_404_without_the_brokers_words_is_not_a_missing_order(venue: PaperLookAlike):
    venue.play(status(404, body=b'{"message":"endpoint not found."}'), bars=False)
    broker = broker_of(venue)
    with pytest.raises(BrokerSilentError):
        broker.order("cap-1")
    assert broker.order("cap-1") is None


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (status(401), AccessRefusedError),
        (status(403, body=b'{"message":"forbidden."}'), AccessRefusedError),
        (status(403, body=b'{"code":40310000,"message":"account not authorized"}'), AccessRefusedError),
    ],
)
def test_fault_21_p9_refused_keys_are_told_from_refused_orders(
    venue: PaperLookAlike, fault: Fault, raised: type[Exception]
):
    broker = broker_of(venue)
    venue.play_posts(fault)
    with pytest.raises(raised):
        broker.submit(BUY)
    venue.play_posts(status(403, body=b'{"code":40310000,"message":"insufficient balance for USD"}'))
    assert broker.submit(BUY).status == Status.DENIED
    assert len(venue.posts()) == 2


def test_fault_23_p6_sizes_are_read_anew_each_time(venue: PaperLookAlike):
    broker = broker_of(venue)
    before = broker.quotes(["BTC-USD", "ETH-USD"])
    venue.assets["BTC/USD"].min_order_size = Decimal("0.5")
    venue.assets["ETH/USD"].tradable = False
    after = broker.quotes(["BTC-USD", "ETH-USD"])
    assert before["BTC-USD"].min_quantity < after["BTC-USD"].min_quantity == Decimal("0.5")
    assert before["ETH-USD"].tradable
    assert not after["ETH-USD"].tradable


def test_p11_the_last_requests_of_a_minute_are_kept_for_orders(venue: PaperLookAlike):
    waits: list[float] = []
    broker = broker_of(venue, waits)
    for _ in range(180):
        venue._method.name = "GET"
        venue._fault_for("/v2/account")
    broker.submit(BUY)
    assert waits == []
    broker.positions()
    assert waits == [55.0]


@pytest.mark.parametrize("url", ["https://api.alpaca.markets", "http://paper-api.alpaca.markets"])
def test_p8_another_host_is_refused_before_anything_is_sent(url: str):
    with pytest.raises(TradingError, match="paper host"):
        AlpacaBroker(key=SecretStr("a"), secret=SecretStr("b"), clock=ManualClock(NOW), url=url)
    with pytest.raises(TradingError, match="host of quotes"):
        AlpacaBroker(key=SecretStr("a"), secret=SecretStr("b"), clock=ManualClock(NOW), data_url=url)


def test_p9_no_fault_shows_a_key(venue: PaperLookAlike, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    echo = json.dumps({"message": " ".join(KEYS), "code": 40310000}).encode()
    seen: list[str] = []
    for fault in [*AMBIGUOUS, *(status(code, body=echo) for code in (400, 401, 403, 404, 422, 429, 500))]:
        broker = broker_of(venue)
        venue.play_posts(fault)
        venue.play(fault, fault, fault, fault, bars=False)
        for call in (lambda b=broker: b.submit(BUY), broker.positions, lambda b=broker: b.order("cap-1")):
            try:
                seen.append(repr(call()))
            except CappuccinoError as error:
                seen += traceback.format_exception(error)
        seen.append(repr(broker))
    with pytest.raises(ConfigurationError, match="holds a blank") as caught:
        broker_of(venue, key=SecretStr(f"{KEYS[0]} "))
    seen.append(str(caught.value))
    text = "\n".join([*seen, caplog.text])
    assert len(seen) > 40
    assert not any(key in text for key in KEYS)


@pytest.mark.parametrize("path", sorted(SHARED.glob("sdk_*order*.json")), ids=lambda path: path.stem)
def test_recorded_orders_are_read(path: Path):
    body = json.loads(path.read_text())
    for order in body if isinstance(body, list) else [body]:
        if "client_order_id" in order:
            state = alpaca_words.order_state(order)
            assert (state.status, state.alarm) == (Status.ACKED, "")


def test_recorded_accounts_assets_and_fills_are_read(venue: PaperLookAlike):
    if not SHARED.is_dir():
        pytest.skip("the recorded answers are not beside this repository")

    def read(name: str) -> Any:
        return json.loads((SHARED / name).read_text())["response"]

    venue._account = lambda: read("account.json")  # type: ignore[method-assign]
    venue._asset = lambda asset: read("assets.json")[1]  # type: ignore[method-assign]
    broker = broker_of(venue)
    assert broker.account().cash == Decimal("5.92")
    assert alpaca_words.position_symbols(read("assets.json")) == {"DOGEUSDC": "DOGE-USDC", "AAVEUSD": "AAVE-USD"}
    (fill,) = read("activities_fill.json")
    assert alpaca_words.number(fill["cum_qty"]) == Decimal("0.07")
    assert alpaca_words.moment(read("clock.json")["timestamp"]) is not None
