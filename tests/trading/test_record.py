"""An order is followed back through the ledger; crashes, faults and fills are counted from its rows."""

from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.core import TradingError, array_sha256
from cappuccino_ml.trading import Ledger, faults_of, fills_of, read_ledger, replay, trace_order

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, make_panel


def test_an_order_leads_to_its_bar_its_model_and_the_features_the_model_saw(tmp_path: Path) -> None:
    actor, panel = FakeActor(key="some-model"), make_panel(bars=FIRST + 12, filled=0.0)
    with Ledger(tmp_path / "l.db", durable=False) as ledger:
        session = replay(actor=actor, panel=panel, first=FIRST, last=FIRST + 10, ledger=ledger, model_version="7")
        rows = read_ledger(tmp_path / "l.db")  # while its trader holds it
    fills = fills_of(rows)
    assert len(fills) == np.count_nonzero(session.orders) > 0
    for fill in fills:
        trace = trace_order(rows, fill.order_id)
        k = [session.close_of(k) for k in range(10)].index(trace.bar_close.isoformat())
        column = session.symbols.index(trace.symbol)
        assert (trace.model, trace.version) == ("some-model", "7")
        assert trace.features == array_sha256(actor.seen[k])[:16]
        assert trace.action == session.actions[k, column]
        assert float(trace.filled) == abs(session.orders[k, column]) == fill.quantity
        assert trace.steps[0] == "INTENT"
        assert trace.steps[-1] == "FILLED"
        again = actor.act(actor.seen[k], np.asarray(trace.entries, dtype=np.float32))
        assert again[column] == trace.action, "features and portfolio give the action once more"


def test_an_order_nobody_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TradingError, match="no order cap-1"):
        trace_order([], "cap-1")
    with pytest.raises(TradingError, match="cannot be read"):
        read_ledger(tmp_path / "absent.db")


def test_a_clean_stop_and_a_swap_are_no_crashes_and_a_kill_is_one(desk: Desk) -> None:
    trader = desk.open()
    trader.tick()
    trader.swap(actor=FakeActor(key="other"), model_version="2")
    trader.stop()
    trader = desk.open()
    assert desk.ledger is not None
    assert faults_of(list(desk.ledger.rows())).crashes == 0
    desk.open()
    assert desk.ledger is not None
    assert faults_of(list(desk.ledger.rows())).crashes == 1


def test_a_tick_that_was_cut_short_is_a_crash(desk: Desk) -> None:
    trader = desk.open(ledger_type=CrashingLedger, crash_at=6)
    with pytest.raises(CrashError):
        trader.tick()
    desk.open()
    assert desk.ledger is not None
    rows = list(desk.ledger.rows())
    assert any(row.kind == "cut_short" for row in rows)
    assert faults_of(rows).crashes == 1
