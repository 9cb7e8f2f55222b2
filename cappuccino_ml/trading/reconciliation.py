"""Before every decision: each order has its end, the account is ours and its book equals ours, or nothing is sent."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal

from cappuccino_ml.core import Clock
from cappuccino_ml.trading.broker import AccessRefusedError, Account, Broker, BrokerBusyError, BrokerSilentError
from cappuccino_ml.trading.journal import Journal
from cappuccino_ml.trading.limits import Limits
from cappuccino_ml.trading.state import TradingState
from cappuccino_ml.trading.submission import Submission

_FEE_ROUNDING = Decimal("1.001")


def reconcile(
    *,
    broker: Broker,
    journal: Journal,
    submission: Submission,
    clock: Clock,
    limits: Limits,
    increments: Mapping[str, Decimal],
) -> None:
    """Bring every order of ours to a known end, then compare accounts, open orders and positions.

    Args:
        broker: the account as it is.
        journal: the account as we know it; a new one takes the broker's positions as they are.
        submission: asks after orders and cancels what is still open.
        clock: compared with the broker's.
        limits: skew of the clocks, fee in coin.
        increments: base units of one lot, by symbol; differences up to one are nothing.

    Raises:
        TradingError: the clocks differ, the account is blocked or another one, or something is not explained; what
            only a person can explain halts the trader.
    """
    state = journal.state
    if state.decided is not None and state.decided != state.finished:
        journal.record("cut_short", {"bar_close": state.decided.isoformat()})
    for tracked in state.unresolved():
        if state.positions is None:  # a person has released the trader since
            submission.end_as_settled(tracked)
        else:
            submission.bring_to_an_end(tracked)
    account = broker.account()
    _require_ours(account, journal=journal, clock=clock, limits=limits)
    for order in broker.open_orders():
        if order.client_order_id in state.orders:
            submission.bring_to_an_end(state.orders[order.client_order_id])
        else:
            journal.record("external", {"id": order.client_order_id, "symbol": order.symbol})
            raise journal.halted(
                f"the account has an open order {order.client_order_id} of {order.symbol or 'something'} that we never "
                "made; cancel it by hand"
            )
    if state.positions is None:
        positions = {symbol: str(units) for symbol, units in sorted(_held(broker).items())}
        journal.record("baseline", {"positions": positions, "account": account.id})
        return
    late = [
        tracked for symbol in _differing(state, _held(broker), increments, limits) for tracked in state.given_up(symbol)
    ]
    for tracked in late:  # asked again before anybody is alarmed: one of them may have been filled after all
        submission.bring_to_an_end(tracked)
    held = _held(broker)
    for symbol in _differing(state, held, increments, limits):
        ours, theirs = state.positions.get(symbol, Decimal(0)), held.get(symbol, Decimal(0))
        raise journal.halted(
            f"our book says {ours} {symbol}, the broker {theirs}, and neither a fee in coin nor one lot explains it; "
            "find out why"
        )
    for symbol in sorted(state.positions.keys() | held.keys()):
        ours, theirs = state.positions.get(symbol, Decimal(0)), held.get(symbol, Decimal(0))
        if ours != theirs:
            why = "rounding" if abs(ours - theirs) <= increments.get(symbol, Decimal(0)) else "fee taken in coin"
            journal.record("aligned", {"symbol": symbol, "ours": str(ours), "theirs": str(theirs), "why": why})


@contextmanager
def broker_errors(journal: Journal, *, at_start: bool = False) -> Iterator[None]:
    """An answer that did not come is a reason not to trade; refused keys are one for a person to look.

    Raises:
        TradingError: instead of the broker's error, and written down; refused keys halt, but not at the start.
    """
    try:
        yield
    except AccessRefusedError as error:
        reason = str(error).rstrip(".")
        raise journal.refused(None, f"{reason}.") if at_start else journal.halted(reason) from None
    except (BrokerSilentError, BrokerBusyError) as error:
        raise journal.refused(None, str(error)) from None


def _held(broker: Broker) -> dict[str, Decimal]:
    return {symbol: units for symbol, units in broker.positions().items() if units}


def _differing(
    state: TradingState, held: Mapping[str, Decimal], increments: Mapping[str, Decimal], limits: Limits
) -> list[str]:
    """Symbols whose difference is more than a fee that was taken in coin since the last decision, and one lot."""
    ours, found = state.positions or {}, []
    for symbol in sorted(ours.keys() | held.keys()):
        less, lot = ours.get(symbol, Decimal(0)) - held.get(symbol, Decimal(0)), increments.get(symbol, Decimal(0))
        fee = state.bought.get(symbol, Decimal(0)) * Decimal(repr(limits.coin_fee_bps)) / 10_000 * _FEE_ROUNDING
        if not -lot <= less <= fee + lot:
            found.append(symbol)
    return found


def _require_ours(account: Account, *, journal: Journal, clock: Clock, limits: Limits) -> None:
    if account.blocked:
        raise journal.refused(None, f"the broker says the account {account.blocked}; ask the broker.")
    if journal.state.account and account.id and account.id != journal.state.account:
        raise journal.refused(
            None, "the keys open another account than the ledger's; use that account's keys, or a new ledger."
        )
    if account.time is not None:
        skew_s = (clock.now() - account.time).total_seconds()
        if abs(skew_s) > limits.max_skew_s:
            raise journal.refused(
                None,
                f"our clock is {skew_s:+.0f} s off the broker's, the limit is {limits.max_skew_s:g} s; set the clock.",
            )
