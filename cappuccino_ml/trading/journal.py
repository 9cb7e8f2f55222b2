"""The ledger and what it adds up to, written together: refusals, alarms, latches and the steps of orders."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from cappuccino_ml.core import Clock, TradingError
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.orders import OrderState, Status, TrackedOrder, steps_to
from cappuccino_ml.trading.state import TradingState


class Mode(StrEnum):
    """ACTIVE follows the model. REDUCING sells only. HALTED stays so until a person releases it.

    A drawdown halt sells everything first; any other halt sends nothing, because our book cannot be trusted then.
    """

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


class Journal:
    """One trader's memory. Whatever it is told is on disk before it is true."""

    def __init__(self, ledger: Ledger, clock: Clock, *, tell: Callable[[str], None]) -> None:
        """Verify the ledger and fold its rows.

        Args:
            ledger: this account's history.
            clock: time of the rows.
            tell: is told every alarm, refusal and halt, in one sentence.
        """
        ledger.verify()
        self._ledger, self._clock, self._tell = ledger, clock, tell
        self._who: dict[str, str] = {}
        self._last_alarm = ""
        self.state = TradingState.replay(ledger.rows())

    @property
    def mode(self) -> Mode:
        """What may be sent now."""
        state = self.state
        if state.stopped or state.halted:
            return Mode.HALTED
        over = state.reducing_until is not None and self._clock.now() >= state.reducing_until
        return Mode.REDUCING if state.reducing and not over else Mode.ACTIVE

    @property
    def why(self) -> str:
        """Why the mode is what it is; "" if it is ACTIVE."""
        if self.mode == Mode.ACTIVE:
            return ""
        drawdown = "the portfolio's drawdown reached its limit" if self.state.halted else ""
        return self.state.stopped or drawdown or self.state.reducing

    def sign_as(self, *, model: str, version: str) -> None:
        """Every row names the model that traded from here on."""
        self._who = {"model": model, "version": version}

    def record(self, kind: str, payload: dict[str, Any]) -> None:
        """Append one row and fold it in."""
        self.state.apply(self._ledger.record(kind, {**self._who, **payload}, at=self._clock.now()))

    def alarm(self, reason: str) -> None:
        """Write down what a person should see, and go on; the same thing again is not news."""
        if reason != self._last_alarm:
            self._last_alarm = reason
            self.record("alarm", {"reason": reason})
            self._tell(reason)

    def refused(
        self, bar_close: datetime | None, reason: str, *, error: type[TradingError] = TradingError
    ) -> TradingError:
        """Write down why nothing is sent this time; the error to raise."""
        self.record("refused", {"bar_close": bar_close and bar_close.isoformat(), "reason": reason})
        self._tell(f"no orders: {reason}")
        return error(f"no orders: {reason}")

    def halted(self, reason: str) -> TradingError:
        """Latch HALTED: nothing is sent until a person has looked; the error to raise."""
        if not self.state.stopped:
            self.record("halt", {"reason": reason})
            self._tell(f"halted: {reason}")
        return TradingError(f"halted: {reason}")

    def require_not_stopped(self) -> None:
        """Raises TradingError if something other than a drawdown has halted the trader."""
        if self.state.stopped:
            raise TradingError(
                f"halted: {self.state.stopped}; nothing is sent until a person has looked and released it."
            )

    def step(self, tracked: TrackedOrder, path: tuple[Status, ...], answer: OrderState | None) -> TrackedOrder:
        """Write down the steps of an order and what the broker said.

        Raises:
            TradingError: a step is not legal, a fill shrinks or exceeds the order: the trader is halted.
        """
        try:
            # Looked at before it is on disk: a row that cannot be folded would stop every restart, too.
            tracked.follow(path, filled=answer.filled if answer else None)
        except TradingError as error:
            raise self.halted(str(error).rstrip(".")) from error
        self.record("order", tracked.row(path, answer))
        if answer is not None and answer.alarm:
            self.alarm(f"order {answer.client_order_id}: {answer.alarm}")
        return self.state.orders[tracked.order.client_order_id]

    def learn(self, tracked: TrackedOrder, answer: OrderState, *, first: tuple[Status, ...] = ()) -> TrackedOrder:
        """Bring our view of an order to what the broker says of it, by legal steps; no news is no row.

        Args:
            tracked: the order as we know it.
            answer: the order as the broker knows it.
            first: steps that come before the broker's.
        """
        here = first[-1] if first else tracked.status
        steps = (*first, *steps_to(here, answer.status, grew=answer.filled != tracked.filled))
        return self.step(tracked, steps, answer) if steps or answer.filled != tracked.filled else tracked
