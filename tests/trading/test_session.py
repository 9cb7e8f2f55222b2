"""A session on disk: held once, and what its orders came to can be read back."""

from pathlib import Path

import numpy as np

from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.trading import read_fills, read_session, run_session

from .conftest import FIRST, FakeActor, make_panel

BARS = 30


def test_a_sessions_fills_are_those_it_counted_at_the_open_of_their_bar(tmp_path: Path) -> None:
    panel = make_panel(seed=3, filled=0.05, bars=FIRST + BARS + 2)
    report, folder = run_session(
        tmp_path,
        actor=FakeActor(guards=Guards(max_step=0.6, min_cash=0.0), costs=Costs(slippage_bps=0.0)),
        model_version="1",
        panel=panel,
        first_open=panel.timestamps[FIRST],
        bars=BARS,
        label="paper session",
    )
    fills = read_fills(folder)
    assert len(fills) == report.comparison.fills > 0
    assert set(fills["side"]) == {"buy", "sell"}
    assert (fills["quantity"] > 0).all()
    rows = np.searchsorted(panel.timestamps, fills["timestamp"].to_numpy())
    columns = [panel.universe.tickers.index(ticker) for ticker in fills["ticker"]]
    np.testing.assert_allclose(fills["price"], panel.open[rows, columns], rtol=1e-9)
    assert not panel.is_filled[rows, columns].any()
    assert rows.min() > FIRST
    assert rows.max() <= FIRST + BARS
    assert read_session(folder) == report
