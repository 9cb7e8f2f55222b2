"""A session read back from the ledger is the one that was held, from whatever book the model took over."""

from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.environment import Costs
from cappuccino_ml.features import MarketTable
from cappuccino_ml.trading import Ledger, replay
from cappuccino_ml.trading.live import live_session, store_live

from .conftest import FIRST, Desk, FakeActor, always, make_panel


@pytest.mark.parametrize("fee_in_coin", [False, True])
def test_the_ledger_gives_the_replayed_session_back(tmp_path: Path, fee_in_coin: bool) -> None:
    actor, panel = FakeActor(costs=Costs(fee_in_coin=fee_in_coin, slippage_bps=3.0)), make_panel(bars=FIRST + 42)
    with Ledger(tmp_path / "l.db", durable=False) as ledger:
        held = replay(actor=actor, panel=panel, first=FIRST, last=FIRST + 40, ledger=ledger, model_version="3")
        rows = list(ledger.rows())
    found = live_session(rows, panel=panel, version="3")
    assert found is not None
    session, units = found
    assert not units.any()
    assert session.first == held.first
    np.testing.assert_array_equal(session.orders, held.orders)
    np.testing.assert_array_equal(session.actions, held.actions)
    np.testing.assert_array_equal(session.timestamps, held.timestamps)
    np.testing.assert_allclose(session.equity, held.equity, rtol=1e-9)
    assert live_session(rows, panel=panel, version="2") is None
    assert live_session(rows, panel=panel.slice(0, FIRST + 1), version="9") is None


def test_a_model_that_took_over_a_book_is_compared_from_that_book_on(desk: Desk, tmp_path: Path) -> None:
    trader = desk.open(version="1")
    for row in range(FIRST, FIRST + 30):
        if row == FIRST + 6:
            desk.actor = FakeActor(key="second")
            trader.swap(actor=desk.actor, model_version="2")
        desk.at(row)
        trader.tick()
    assert desk.ledger is not None
    rows, table = list(desk.ledger.rows()), MarketTable.from_panel(desk.panel)
    stored = [
        store_live(
            tmp_path / "sessions",
            actor=desk.actor,
            model_version="2",
            rows=rows,
            panel=desk.panel,
            table=table,
            label="paper session",
        )
        for _ in range(2)
    ]
    assert stored[0] == stored[1]
    assert stored[0] is not None
    report, folder = stored[0]
    assert report.comparison.bars == 24
    assert report.comparison.orders_equal, report.comparison.deviations
    assert abs(report.comparison.return_gap) < 1e-6
    assert report.comparison.fills > 5
    assert (folder / "equity.parquet").is_file()


def test_a_bar_that_was_missed_is_a_deviation_with_its_reason(desk: Desk, tmp_path: Path) -> None:
    kill, desk.actor = tmp_path / "KILL", FakeActor(rule=always(0.5, 0.5, 0.5))
    trader = desk.open(version="1", kill_file=kill)
    for row in range(FIRST, FIRST + 12):
        desk.at(row)
        if row == FIRST + 4:
            kill.touch()
            with pytest.raises(Exception, match="exists"):
                trader.tick()
            kill.unlink()
        else:
            trader.tick()
    assert desk.ledger is not None
    found = store_live(
        tmp_path / "sessions",
        actor=desk.actor,
        model_version="1",
        rows=list(desk.ledger.rows()),
        panel=desk.panel,
        table=MarketTable.from_panel(desk.panel),
        label="paper session",
    )
    assert found is not None
    odd = found[0].comparison.deviations
    assert odd
    assert odd[0].explained
    assert "no decision was taken" in odd[0].cause
    assert "KILL exists" in odd[0].cause
    assert found[0].comparison.unexplained == 0, [one.sentence for one in odd if not one.explained]
