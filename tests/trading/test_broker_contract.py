"""One contract, every broker: simulated, the Alpaca look-alike through alpaca-py, and on request the paper host."""

import _socket
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from lookalikes.alpaca_paper import Asset, PaperLookAlike
from lookalikes.server import Market
from pydantic import SecretStr

from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import ManualClock, SystemClock
from cappuccino_ml.environment import Costs
from cappuccino_ml.trading import (
    AlpacaBroker,
    Broker,
    DuplicateOrderError,
    Habits,
    Order,
    OrderState,
    Quote,
    SimulatedBroker,
    Status,
)
from cappuccino_ml.trading.orders import OPEN, Side

NOW = datetime(2024, 1, 21, 12, 0, 5, tzinfo=UTC)
KEYS = ("PKCANARY0KEY", "canary+secret/0123456789")
QUICK = RetrySettings(tries=2, first_wait_s=0.0, deadline_s=5.0, timeout_s=0.5)
PAPER_KEYS = [os.environ.get(name, "") for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")]


@dataclass
class Rig:
    """A broker that lists BTC-USD and does not list XYZ-USD, with at least 100 USD, and a way to let time pass."""

    broker: Broker
    wait: Callable[[float], None]
    price: Decimal

    def send(self, side: Side, quantity: str, *, symbol: str = "BTC-USD", key: str | None = None) -> OrderState:
        """Send an order and wait for its end."""
        order = Order(key or f"cap-{uuid.uuid4().hex}", symbol, side, Decimal(quantity))
        state: OrderState | None = self.broker.submit(order)
        for _ in range(10):
            if state is None or state.status not in OPEN:
                break
            self.wait(1.0)
            state = self.broker.order(order.client_order_id)
        assert state is not None
        return state


def simulated() -> Iterator[Rig]:
    clock = ManualClock(NOW)
    quotes = {"BTC-USD": Quote(Decimal(100), True)}
    broker = SimulatedBroker(
        symbols=("BTC-USD",),
        cash=Decimal(1000),
        costs=Costs(increment=1e-9),
        quotes=lambda symbols: {symbol: quotes[symbol] for symbol in symbols if symbol in quotes},
        habits=Habits(fee_in_coin=True, tells_fee=False, latency_s=0.5, min_buy_notional=Decimal(10)),
        clock=clock,
    )
    yield Rig(broker, lambda seconds: clock.set(clock.now() + timedelta(seconds=seconds)), Decimal(100))


def lookalike() -> Iterator[Rig]:
    clock = ManualClock(NOW)
    market = Market(now=NOW, first=NOW)
    with PaperLookAlike(market, assets=[Asset("BTC/USD", Decimal(100))], cash=Decimal(1000), keys=KEYS) as venue:

        def wait(seconds: float) -> None:
            clock.set(clock.now() + timedelta(seconds=seconds))
            market.now = clock.now()

        broker = AlpacaBroker(
            key=SecretStr(KEYS[0]),
            secret=SecretStr(KEYS[1]),
            clock=clock,
            url=venue.url,
            data_url=venue.url,
            retry=QUICK,
            sleep=wait,
        )
        yield Rig(broker, wait, Decimal(100))
        broker.close()


def paper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if os.environ.get("APCA_PAPER_CONTRACT") != "1" or not all(PAPER_KEYS):
        pytest.skip("set APCA_PAPER_CONTRACT=1 and both APCA keys to trade about 60 USD on the paper host")
    import time

    monkeypatch.setattr(socket.socket, "connect", _socket.socket.connect)  # this one may leave the machine
    broker = AlpacaBroker(key=SecretStr(PAPER_KEYS[0]), secret=SecretStr(PAPER_KEYS[1]), clock=SystemClock())
    yield Rig(broker, time.sleep, broker.quotes(["BTC-USD"])["BTC-USD"].price)
    broker.close()


@pytest.fixture(params=["simulated", "lookalike", "paper"])
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    yield from {"simulated": simulated, "lookalike": lookalike, "paper": lambda: paper(monkeypatch)}[request.param]()


def size(rig: Rig, usd: str) -> str:
    return f"{(Decimal(usd) / rig.price).quantize(Decimal('0.000001')):f}"


def test_p3_a_buy_adds_what_was_filled_less_at_most_the_fee_in_coin(rig: Rig):
    cash, held = rig.broker.account().cash, rig.broker.positions().get("BTC-USD", Decimal(0))
    bought = rig.send("buy", size(rig, "30"))
    assert bought.status == Status.FILLED
    got = rig.broker.positions()["BTC-USD"] - held
    assert bought.filled * Decimal("0.997") <= got <= bought.filled
    assert Decimal(29) < cash - rig.broker.account().cash < Decimal(32)


def test_p6_everything_held_can_be_sold_and_no_more(rig: Rig):
    bought = rig.send("buy", size(rig, "30"))
    held = rig.broker.positions()["BTC-USD"]
    free = held - rig.broker.account().reserved.get("BTC-USD", Decimal(0))
    assert rig.send("sell", f"{free + bought.filled:f}").status == Status.DENIED
    assert rig.send("sell", f"{free:f}").status == Status.FILLED
    assert rig.broker.positions().get("BTC-USD", Decimal(0)) == 0


def test_p1_an_id_is_burnt_for_ever(rig: Rig):
    key = f"cap-{uuid.uuid4().hex}"
    first = rig.send("buy", size(rig, "20"), key=key)
    with pytest.raises(DuplicateOrderError):
        rig.broker.submit(Order(key, "BTC-USD", "buy", Decimal(size(rig, "20"))))
    assert rig.broker.order(key) == first


def test_p2_an_id_that_was_never_used_is_surely_not_there(rig: Rig):
    assert rig.broker.order(f"cap-{uuid.uuid4().hex}") is None


@pytest.mark.parametrize(("side", "usd", "symbol"), [("buy", "5", "BTC-USD"), ("buy", "20", "XYZ-USD")])
def test_p6_what_the_venue_refuses_is_denied_with_words(rig: Rig, side: Side, usd: str, symbol: str):
    before = rig.broker.account().cash
    denied = rig.send(side, size(rig, usd), symbol=symbol)
    assert denied.status == Status.DENIED
    assert denied.reason
    assert rig.broker.account().cash == before


def test_p6_quotes_carry_prices_and_sizes_and_leave_out_what_is_not_listed(rig: Rig):
    quotes = rig.broker.quotes(["BTC-USD", "XYZ-USD"])
    assert set(quotes) == {"BTC-USD"}
    assert quotes["BTC-USD"].tradable
    assert quotes["BTC-USD"].price > 0
    assert quotes["BTC-USD"].min_buy_notional == 10


def test_p12_an_order_that_ended_can_be_cancelled_without_harm_and_none_stays_open(rig: Rig):
    done = rig.send("buy", size(rig, "20"))
    rig.broker.cancel(done.client_order_id)
    assert rig.broker.order(done.client_order_id) == done
    assert rig.broker.open_orders() == []


def test_p5_the_broker_tells_its_time_and_names_its_account(rig: Rig):
    account = rig.broker.account()
    assert account.id
    assert account.time is not None
    assert not account.blocked
