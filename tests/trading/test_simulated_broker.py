"""The simulated broker refuses what a venue refuses, and its books balance to the last digit."""

from decimal import Decimal

import pytest

from cappuccino_ml.environment import Costs
from cappuccino_ml.trading import DuplicateOrderError, Order, Quote, SimulatedBroker, Status


def make(cash: str = "1000") -> SimulatedBroker:
    quotes = {"BTC-USD": Quote(Decimal(100), True), "ETH-USD": Quote(Decimal(10), False)}
    return SimulatedBroker(
        symbols=("BTC-USD", "ETH-USD", "UNI-USD"),
        cash=Decimal(cash),
        costs=Costs(fee_bps=25, slippage_bps=10),
        quotes=lambda symbols: {symbol: quotes[symbol] for symbol in symbols if symbol in quotes},
    )


def test_fees_and_slippage_are_exact() -> None:
    broker = make()
    bought = broker.submit(Order("a", "BTC-USD", "buy", Decimal(2)))
    assert (bought.price, bought.fee) == (Decimal("100.1"), Decimal("0.5005"))
    assert broker.account().cash == Decimal("799.2995")
    sold = broker.submit(Order("b", "BTC-USD", "sell", Decimal("0.5")))
    assert (sold.price, sold.fee) == (Decimal("99.9"), Decimal("0.124875"))
    assert broker.account().cash == Decimal("849.124625")
    assert broker.positions() == {"BTC-USD": Decimal("1.5")}
    broker.submit(Order("c", "BTC-USD", "sell", Decimal("1.5")))
    assert broker.positions() == {}


@pytest.mark.parametrize(
    ("symbol", "side", "quantity", "reason"),
    [
        ("XRP-USD", "buy", "1", "not listed"),
        ("ETH-USD", "buy", "1", "does not trade"),
        ("UNI-USD", "buy", "1", "does not trade"),
        ("BTC-USD", "buy", "10", "insufficient cash"),
        ("BTC-USD", "sell", "1", "insufficient balance"),
        ("BTC-USD", "buy", "0.1234567", "not a multiple"),
    ],
)
def test_it_denies_with_a_reason_and_changes_nothing(symbol: str, side: str, quantity: str, reason: str) -> None:
    broker = make()
    state = broker.submit(Order("a", symbol, side, Decimal(quantity)))  # type: ignore[arg-type]
    assert state.status == Status.DENIED
    assert reason in state.reason
    assert (broker.account().cash, broker.positions()) == (Decimal(1000), {})


def test_a_used_id_is_burnt_for_ever_even_by_a_denied_order() -> None:
    broker = make()
    broker.submit(Order("a", "BTC-USD", "sell", Decimal(1)))
    with pytest.raises(DuplicateOrderError, match="must be unique"):
        broker.submit(Order("a", "BTC-USD", "buy", Decimal(1)))
    assert broker.order("b") is None
