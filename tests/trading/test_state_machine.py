"""Any sequence of bars, broken answers, outages, kills, restarts and people: P1, P2, P3 and P7 hold after each step."""

import contextlib
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Guards
from cappuccino_ml.trading import Habits, Mode, Trader, engine, release, restrict

from .conftest import FIRST, CrashError, CrashingLedger, FakeActor, make_desk, make_panel
from .faulty import FaultyBroker, check, last_statuses, state_of
from .soak import NoFeatures

PANEL = make_panel(bars=FIRST + 200, filled=0.01)
POSTS = st.lists(st.sampled_from(["", "lost", "cut", "late", "busy", "used"]), min_size=1, max_size=4)
LOOKS = st.lists(st.sampled_from(["", "silent", "missing"]), min_size=1, max_size=6)
HABITS = st.builds(
    Habits,
    fee_in_coin=st.booleans(),
    tells_fee=st.booleans(),
    latency_s=st.sampled_from([0.0, 2.0, 20.0]),
    partial_share=st.sampled_from([0.0, 0.4]),
    rest=st.sampled_from(["later", "cancelled"]),
    reject_share=st.sampled_from([0.0, 0.2]),
    min_buy_notional=st.sampled_from([0, 10]),
)


class TraderMachine(RuleBasedStateMachine):
    """One account, its broker, its ledger, and whatever may happen to them."""

    @initialize(habits=HABITS, drawdown=st.sampled_from([0.02, 0.9]))
    def begin(self, habits: Habits, drawdown: float) -> None:
        self.features = patch.object(engine, "FeatureStream", NoFeatures)
        self.features.start()
        self.folder = tempfile.TemporaryDirectory()
        actor = FakeActor(guards=Guards(max_drawdown=drawdown, dead_band=0.0, max_step=0.3), lookback=1)
        self.desk = make_desk(Path(self.folder.name), panel=PANEL, actor=actor, broker_type=FaultyBroker, habits=habits)
        self.broker: FaultyBroker = self.desk.broker
        self.row = FIRST
        self.trader: Trader | None = None
        self.wish = (1.0, 1.0, 0.0)
        actor.rule = lambda window, entries: np.array(self.wish)
        self.restart()

    @rule(wish=st.tuples(*[st.sampled_from([-1.0, 0.0, 0.3, 1.0])] * 3))
    def next_bar(self, wish: tuple[float, float, float]) -> None:
        self.row += 1
        self.desk.at(self.row)
        self.wish = wish
        self.same_bar_again()

    @rule()
    def same_bar_again(self) -> None:
        try:
            if self.trader is None:
                self.trader = self.desk.open(ledger_type=CrashingLedger)
            self.trader.tick()
        except CrashError:
            self.trader = None
        except TradingError:
            pass

    @rule()
    def restart(self) -> None:
        self.trader = None
        with contextlib.suppress(TradingError):
            self.trader = self.desk.open(ledger_type=CrashingLedger)

    @rule(write=st.integers(1, 12), after=st.booleans())
    def will_be_killed_at_a_write(self, write: int, after: bool) -> None:
        self.trader = None
        with contextlib.suppress(CrashError, TradingError):
            self.trader = self.desk.open(ledger_type=CrashingLedger, crash_at=write, after=after)

    @rule(words=POSTS)
    def orders_meet_trouble(self, words: list[str]) -> None:
        self.broker.script.extend(words)

    @rule(words=LOOKS)
    def questions_meet_trouble(self, words: list[str]) -> None:
        self.broker.looks.extend(words)

    @rule(what=st.sampled_from(["account", "positions", "quotes"]))
    def outage(self, what: str) -> None:
        self.broker.down = what

    @rule()
    def calm(self) -> None:
        self.broker.calm()

    @rule()
    def a_person_halts(self) -> None:
        assert self.desk.ledger is not None
        self.desk.ledger.crash_at = -1  # type: ignore[attr-defined]  # the process that dies is the trader's
        restrict(self.desk.ledger, entries_only=False, who="Ada", why="a drill", at=self.desk.clock.now())
        self.restart()

    @rule()
    def a_person_settles_everything_and_releases(self) -> None:
        self.broker.calm()
        for order in self.broker.open_orders():
            self.broker.cancel(order.client_order_id)
        assert self.desk.ledger is not None
        self.desk.ledger.crash_at = -1  # type: ignore[attr-defined]
        release(self.desk.ledger, who="Ada", why="looked", at=self.desk.clock.now())
        self.restart()

    @invariant()
    def p1_no_intent_is_two_orders(self) -> None:
        assert self.broker.doubled == 0

    @invariant()
    def p2_the_ledger_knows_every_order_of_the_broker(self) -> None:
        assert set(self.broker.accepted) <= set(last_statuses(self.desk))

    @invariant()
    def p7_a_halt_stays_until_a_person_lifts_it_and_buys_nothing(self) -> None:
        stopped = halted = False
        assert self.desk.ledger is not None
        for row in self.desk.ledger.rows():
            if row.kind == "release":
                stopped = halted = False
            elif row.kind == "halt":
                stopped = True
            elif row.kind == "mark":
                assert not halted or row.payload["halted"]
                halted = row.payload["halted"]
            elif row.kind == "order" and row.payload["path"] == ["INTENT"]:
                assert not stopped
                assert not halted or row.payload["side"] == "sell"
        if self.trader is not None and (stopped or halted):
            assert self.trader.mode == Mode.HALTED

    def teardown(self) -> None:
        """P3: once it is calm, the next comparison finds one book or halts."""
        if not hasattr(self, "desk"):
            return
        try:
            self.broker.calm()
            self.restart()
            self.desk.clock.set(self.desk.clock.now() + PANEL.universe.bar)
            self.restart()
            check(self.desk, self.broker)
            state_of(self.desk)
        finally:
            self.desk.close()
            self.folder.cleanup()
            self.features.stop()


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


def test_p1_p2_p3_p7_hold_after_any_sequence_of_events() -> None:
    run_state_machine_as_test(
        TraderMachine,
        settings=settings(max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=QUIET),
    )


@pytest.mark.slow
def test_p1_p2_p3_p7_hold_after_any_long_sequence_of_events() -> None:
    run_state_machine_as_test(
        TraderMachine,
        settings=settings(max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=QUIET),
    )
