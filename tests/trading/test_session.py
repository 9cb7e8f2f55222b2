"""A session on disk: held once, and what its orders came to can be read back."""

from pathlib import Path

import numpy as np

from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.features import MarketTable
from cappuccino_ml.trading import fills_of, read_ledger, read_session, run_session

from .conftest import FIRST, FakeActor, make_panel

BARS = 30


def test_a_sessions_fills_are_those_it_counted_at_the_open_of_their_bar(tmp_path: Path) -> None:
    panel = make_panel(seed=3, filled=0.05, bars=FIRST + BARS + 2)
    report, folder = run_session(
        tmp_path,
        actor=FakeActor(guards=Guards(max_step=0.6, min_cash=0.0), costs=Costs(slippage_bps=0.0)),
        model_version="1",
        panel=panel,
        table=MarketTable.from_panel(panel),
        first_open=panel.timestamps[FIRST],
        bars=BARS,
        label="paper session",
    )
    fills = fills_of(read_ledger(folder / "ledger.sqlite"))
    assert len(fills) == report.comparison.fills > 0
    assert {fill.side for fill in fills} == {"buy", "sell"}
    assert all(fill.quantity > 0 for fill in fills)
    opened = [np.datetime64(fill.bar_close.replace(tzinfo=None), "us") for fill in fills]  # of the bar after
    rows = np.searchsorted(panel.timestamps, opened)
    columns = [panel.universe.symbols.index(fill.symbol) for fill in fills]
    np.testing.assert_allclose([fill.price for fill in fills], panel.open[rows, columns], rtol=1e-9)
    assert not panel.is_filled[rows, columns].any()
    assert rows.min() > FIRST
    assert rows.max() <= FIRST + BARS
    assert read_session(folder) == report
