"""Every order unlike the backtest's is explained by the ledger or by the book, or counted as unexplained."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cappuccino_ml.environment import Costs
from cappuccino_ml.features import MarketTable
from cappuccino_ml.trading import (
    Comparison,
    Habits,
    Ledger,
    compare,
    replay,
    research_act,
    research_sizes,
    shadow_backtest,
)
from cappuccino_ml.trading.deviations import _BarFacts, _from_ledger, _why_idle
from cappuccino_ml.trading.ledger import Row

from .conftest import FIRST, FakeActor, Floats, make_panel

BARS = 30


@dataclass
class Odd(FakeActor):
    """Says something else from one decision on, as if its features had changed."""

    odd_from: int = 10**9

    def act(self, window: Floats, entries: NDArray[np.float32]) -> Floats:
        action = super().act(window, entries)
        return -action if len(self.seen) > self.odd_from else action


def held(
    tmp_path: Path,
    *,
    habits: Habits | None = None,
    odd_from: int = 10**9,
    slippage_bps: float = 3.0,  # of the venue; the backtest expects 3
    cut_at: int | None = None,
    tripled_from: int | None = None,
    decided_so: bool = False,  # ... or only filled so
) -> Comparison:
    """A session of an actor that may turn odd, on a venue with habits, beside the sound actor's backtest."""
    panel, sound = make_panel(seed=3, bars=FIRST + BARS + 2, filled=0.0), FakeActor()
    with Ledger(tmp_path / "l.db", durable=False) as ledger:
        actor = Odd(odd_from=odd_from, costs=Costs(slippage_bps=slippage_bps))
        session = replay(actor=actor, panel=panel, first=FIRST, last=FIRST + BARS, ledger=ledger, habits=habits)
        rows = list(ledger.rows())
    if cut_at is not None:  # the process died before it had sent this bar's last order
        close = session.close_of(cut_at)
        column = int(np.flatnonzero(session.orders[cut_at])[-1])
        session.orders[cut_at, column] = 0.0
        sent = [row.payload.get("symbol") != session.symbols[column] for row in rows]
        rows = [row for row, ours in zip(rows, sent, strict=True) if ours or row.payload["bar_close"] != close]
        rows.append(Row(rows[-1].seq + 1, rows[-1].at, "cut_short", {"bar_close": close}))
    if tripled_from is not None:
        session.orders[tripled_from:] *= 3
        session.decided[tripled_from:] *= 3 if decided_so else 1
    table = MarketTable.from_panel(panel)
    backtest = shadow_backtest(actor=sound, table=table, first=FIRST, last=FIRST + BARS)
    return compare(
        session,
        backtest,
        costs=sound.costs,
        label="toy",
        rows=rows,
        act_again=research_act(sound, table),
        size_again=research_sizes(actor, table),
    )


def test_partial_fills_and_rejections_are_explained_by_the_ledger_and_what_follows_by_the_book(tmp_path: Path) -> None:
    found = held(tmp_path, habits=Habits(partial_share=0.3, reject_share=0.2, seed=1))
    assert len(found.deviations) > 5
    assert not found.orders_equal
    assert [one.sentence for one in found.deviations if not one.explained] == []
    causes = " ".join(one.cause for one in found.deviations)
    assert "were filled, CANCELED" in causes
    assert "REJECTED" in causes
    assert "with this book the model says the same again" in causes


def test_another_action_on_the_same_book_is_not_explained(tmp_path: Path) -> None:
    found = held(tmp_path, odd_from=12)
    assert found.unexplained > 0
    first = found.deviations[0]
    assert not first.explained
    assert "features or holdings differed" in first.cause


def test_odd_features_are_not_hidden_by_an_earlier_explained_deviation(tmp_path: Path) -> None:
    found = held(tmp_path, habits=Habits(reject_share=0.3, seed=1), odd_from=12)
    assert found.deviations[0].explained
    assert any("asked again with this book" in one.cause for one in found.deviations if not one.explained)


def test_fills_at_other_prices_explain_later_sizes_but_no_odd_action(tmp_path: Path) -> None:
    found = held(tmp_path / "sound", slippage_bps=20.0)
    assert len(found.deviations) > 5
    assert [one.sentence for one in found.deviations if not one.explained] == []
    assert "other prices or fees" in found.deviations[0].cause
    odd = held(tmp_path / "odd", slippage_bps=20.0, odd_from=12)
    assert any("asked again with this book" in one.cause for one in odd.deviations if not one.explained)


@pytest.mark.parametrize("decided_so", [False, True])
def test_a_wrong_size_is_not_explained_by_the_right_action_on_another_book(tmp_path: Path, decided_so: bool) -> None:
    found = held(tmp_path, slippage_bps=20.0, tripled_from=12, decided_so=decided_so)
    assert found.deviations[0].explained
    wrong = [one.sentence for one in found.deviations if not one.explained]
    assert len(wrong) > 3
    assert ("the same action on this book is an order of" if decided_so else "was decided, but") in wrong[0]


def test_an_order_filled_whole_is_not_explained_by_a_refusal_after_it() -> None:
    order = {"filled": "2", "quantity": "2", "reason": "", "path": ["FILLED"]}
    known = _BarFacts(entries=np.zeros(2, np.float32), refused="the broker is silent", orders={"BTC/USD": [order]})
    assert _from_ledger(known, symbol="BTC/USD", ours=2.0, theirs=1.0) == ""
    assert _from_ledger(known, symbol="ETH/USD", ours=0.0, theirs=1.0).startswith("cut off")


def test_a_stop_long_after_a_close_does_not_explain_that_nothing_was_decided() -> None:
    close, hour = datetime(2026, 1, 1, 10, tzinfo=UTC), timedelta(hours=1)
    late = [(close + timedelta(minutes=30), "the trader was stopped"), (close + timedelta(minutes=31), "")]
    assert _why_idle(late, begin=close, bar=hour) == ""
    assert _why_idle([(close - hour, "the trader was stopped"), *late[1:]], begin=close, bar=hour)
    assert _why_idle([(close + timedelta(seconds=3), "the trader was stopped")], begin=close, bar=hour)


def test_an_order_that_a_dead_process_did_not_send_is_explained(tmp_path: Path) -> None:
    found = held(tmp_path, cut_at=3)
    assert [one.explained for one in found.deviations] == [True]
    assert "the process ended before all orders were sent" in found.deviations[0].cause


def test_what_the_venue_would_not_take_is_explained(tmp_path: Path) -> None:
    found = held(tmp_path, habits=Habits(min_buy_notional="4000"))
    assert any(one.cause.startswith("not sent: a buy of") for one in found.deviations)
    assert found.unexplained == 0
