"""One order to the broker and to a known end: written down, sent once, and asked after until somebody knows."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cappuccino_ml.core import Clock, TradingError
from cappuccino_ml.trading.broker import (
    AccessRefusedError,
    Broker,
    BrokerBusyError,
    BrokerSilentError,
    DuplicateOrderError,
)
from cappuccino_ml.trading.journal import Journal
from cappuccino_ml.trading.limits import Limits
from cappuccino_ml.trading.orders import OPEN, Order, OrderState, Status, TrackedOrder, steps_to

POLL_S = (1.0, 2.0, 4.0, 8.0, 15.0)  # waits before each question after an order
_MOST_BUSY = 5  # times that one order is sent again because the broker had too many requests
Silence = Literal["silence"]


class StoppedError(TradingError):
    """Somebody asked the trader to stop: nothing more is sent."""


class Submission:
    """Sends orders by the protocol: guards, INTENT on disk, one POST, its outcome on disk.

    An order whose outcome nobody knows is asked after at 1, 2, 4, 8 and 15 s. If the broker then still denies having
    it, the same id is sent once more while the bar is fresh, else it is ABANDONED. Ids are never used for two orders:
    a broker that got both requests refuses the second.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        journal: Journal,
        clock: Clock,
        sleep: Callable[[float], None],
        limits: Limits,
        kill_file: Path | None,
    ) -> None:
        self._broker, self._journal, self._clock, self._sleep = broker, journal, clock, sleep
        self._limits, self._kill_file = limits, kill_file
        self._deadline = clock.now() + timedelta(seconds=limits.deadline_s)
        self.stopping = False

    def begin(self) -> None:
        """A tick begins: its deadline counts from now."""
        self._deadline = self._clock.now() + timedelta(seconds=self._limits.deadline_s)

    def hurry(self) -> None:
        """Send nothing more and wait only a little longer; safe to call from a signal handler."""
        self.stopping = True
        self._deadline = min(self._deadline, self._clock.now() + timedelta(seconds=self._limits.stop_s))

    def gate(self, bar_close: datetime) -> None:
        """Looked at before every POST.

        Raises:
            TradingError: the kill file exists, the trader is halted or asked to stop, or the tick's time is over.
        """
        if self._kill_file is not None and self._kill_file.exists():
            raise self._journal.refused(bar_close, f"{self._kill_file} exists; remove it to go on.")
        self._journal.require_not_stopped()
        if self.stopping:
            raise StoppedError("no orders: the trader was asked to stop.")
        if self._left_s() <= 0:
            raise self._journal.refused(
                bar_close, f"the tick took {self._limits.deadline_s:g} s, its limit; the rest is left to the next bar."
            )

    def send(self, order: Order, *, bar_close: datetime, fresh_until: datetime) -> None:
        """Send one order and write down how it stands.

        Raises:
            TradingError: the gate is shut or the bar stale; the broker refuses us (halted); or it is silent about the
                order, which stays UNKNOWN until the next reconciliation.
        """
        self.gate(bar_close)
        if self._clock.now() >= fresh_until:
            raise self._journal.refused(bar_close, "the bar is stale by now; the rest is left to the next bar.")
        tracked = TrackedOrder(order, bar_close=bar_close)
        self._journal.record("order", tracked.row((Status.INTENT,), None))
        for _ in range(_MOST_BUSY):
            try:
                answer = self._broker.submit(order)
            except BrokerBusyError as busy:
                reason = OrderState(order.client_order_id, Status.INTENT, reason=str(busy))
                tracked = self._journal.step(tracked, (Status.SENT, Status.INTENT), reason)
                wait_s = max(busy.retry_after_s, 1.0)
                fresh_s = (fresh_until - self._clock.now()).total_seconds()
                if wait_s >= min(self._left_s(), fresh_s):
                    break
                self._sleep(wait_s)
                try:
                    self.gate(bar_close)
                except TradingError:
                    self._journal.step(tracked, (Status.ABANDONED,), None)
                    raise
            except AccessRefusedError as error:
                denied = OrderState(order.client_order_id, Status.DENIED, reason=str(error))
                self._journal.step(tracked, (Status.SENT, Status.DENIED), denied)
                raise self._journal.halted(str(error).rstrip(".")) from None
            except (DuplicateOrderError, BrokerSilentError) as error:
                tracked = self._journal.step(tracked, (Status.SENT, Status.UNKNOWN), None)
                self._find(tracked, fresh_until, sent_again=isinstance(error, DuplicateOrderError))
                return
            else:
                self._journal.learn(tracked, answer, first=(Status.SENT,))
                return
        # Each refusal proved that nothing stands at the broker, and there is no time to ask once more.
        self._journal.step(tracked, (Status.ABANDONED,), None)

    def settle(self, bar_close: datetime) -> None:
        """Wait, as long as the schedule and the tick allow, until the orders of this bar have ended."""
        for wait_s in self._waits():
            waiting = [
                tracked
                for tracked in self._journal.state.orders.values()
                if tracked.status in {Status.ACKED, Status.PARTIAL} and tracked.bar_close == bar_close
            ]
            if not waiting:
                return
            self._sleep(wait_s)
            for tracked in waiting:
                answer = self._ask(tracked)
                if isinstance(answer, OrderState):
                    self._journal.learn(tracked, answer)

    def bring_to_an_end(self, tracked: TrackedOrder) -> None:
        """Before a decision and at the start: an order of the past ends here, or nothing new is sent.

        Raises:
            TradingError: the broker took it and has forgotten it (halted), is silent, or will not end it.
        """
        answer = self._broker.order(tracked.order.client_order_id)
        if tracked.status not in OPEN:  # ended for us: only a late fill is news
            if answer is not None:
                tracked = self._journal.learn(tracked, answer)
                if answer.status in OPEN and tracked.status not in {Status.FILLED}:
                    self._journal.alarm(f"order {answer.client_order_id}, given up before, is open; it is cancelled")
                    self._cancel(tracked)
        elif tracked.status in {Status.ACKED, Status.PARTIAL}:
            if answer is not None:
                tracked = self._journal.learn(tracked, answer)
            if tracked.status in OPEN:
                self._cancel(tracked)
        elif answer is not None:
            tracked = self._journal.learn(tracked, answer)
            if tracked.status in OPEN:
                self._cancel(tracked)
        else:
            self._find(tracked, fresh_until=None, sent_again=True)

    def end_as_settled(self, tracked: TrackedOrder) -> None:
        """After a release: the end that the broker tells, or, where no such end can be, the one the person left.

        Raises:
            TradingError: the broker is silent, or will not end it.
        """
        answer, doubt = self._broker.order(tracked.order.client_order_id), ""
        taken = tracked.status in {Status.ACKED, Status.PARTIAL}
        if answer is not None:
            grew = answer.filled != tracked.filled
            try:
                tracked.follow(steps_to(tracked.status, answer.status, grew=grew), filled=answer.filled)
            except TradingError as error:
                doubt = str(error)
        elif taken:
            doubt = "the broker no longer knows it"
        if not doubt:
            self.bring_to_an_end(tracked)
            return
        first = (Status.UNKNOWN,) if tracked.status == Status.INTENT else ()
        end = Status.CANCELED if taken else Status.ABANDONED
        known = OrderState(
            tracked.order.client_order_id,
            end,
            filled=tracked.filled,
            price=tracked.price,
            coin_fee=tracked.coin_fee,
            reason=f"settled by who released the trader: {doubt}",
        )
        self._journal.step(tracked, (*first, end), known)

    def _find(self, tracked: TrackedOrder, fresh_until: datetime | None, *, sent_again: bool) -> None:
        """Ask after an order that may stand or not; `fresh_until` None never sends it again."""
        answer = self._poll(tracked)
        if answer is None and not sent_again and fresh_until is not None and self._clock.now() < fresh_until:
            answer = self._send_again(tracked)
        if answer == "silence":
            raise self._journal.refused(
                tracked.bar_close,
                f"the broker is silent about order {tracked.order.client_order_id}; it is asked again next time.",
            )
        if answer is None:
            first = (Status.UNKNOWN,) if tracked.status == Status.INTENT else ()
            self._journal.step(tracked, (*first, Status.ABANDONED), None)
        else:
            self._journal.learn(tracked, answer)

    def _send_again(self, tracked: TrackedOrder) -> OrderState | Silence | None:
        """The same id once more: should the first request arrive after all, the broker refuses one of the two."""
        order = tracked.order
        try:
            self.gate(tracked.bar_close)
        except TradingError:
            self._journal.step(tracked, (Status.ABANDONED,), None)
            raise
        self._journal.record("resend", {"id": order.client_order_id})
        try:
            return self._broker.submit(order)
        except BrokerBusyError:
            return None
        except AccessRefusedError as error:
            denied = OrderState(order.client_order_id, Status.DENIED, reason=str(error))
            self._journal.step(tracked, (Status.DENIED,), denied)
            raise self._journal.halted(str(error).rstrip(".")) from None
        except (DuplicateOrderError, BrokerSilentError):
            return self._poll(tracked)

    def _poll(self, tracked: TrackedOrder) -> OrderState | Silence | None:
        """What the broker says at last: the order, that it has none, or nothing."""
        answer: OrderState | Silence | None = "silence"
        for wait_s in self._waits():
            self._sleep(wait_s)
            answer = self._ask(tracked)
            if isinstance(answer, OrderState):
                break
        return answer

    def _cancel(self, tracked: TrackedOrder) -> None:
        """End an order that is still open at the broker, and book what was filled until then."""
        self._broker.cancel(tracked.order.client_order_id)
        denied = True
        for wait_s in (0.0, *self._waits()):
            self._sleep(wait_s)
            known = self._ask(tracked)
            denied = denied and known is None
            if isinstance(known, OrderState):
                tracked = self._journal.learn(tracked, known)
                if known.status not in OPEN:
                    return
        key = tracked.order.client_order_id
        if denied:  # each time it was asked
            raise self._journal.halted(f"the broker took order {key} and no longer knows it; look at the account")
        raise self._journal.refused(
            None, f"order {key} was cancelled and has not ended yet; it is asked again next time."
        )

    def _ask(self, tracked: TrackedOrder) -> OrderState | Silence | None:
        try:
            return self._broker.order(tracked.order.client_order_id)
        except (BrokerSilentError, BrokerBusyError):
            return "silence"

    def _waits(self) -> Iterator[float]:
        """The schedule, cut where the tick's time is over; the first question is always asked."""
        for count, wait_s in enumerate(POLL_S):
            if count and wait_s > self._left_s():
                return
            yield wait_s

    def _left_s(self) -> float:
        return (self._deadline - self._clock.now()).total_seconds()
