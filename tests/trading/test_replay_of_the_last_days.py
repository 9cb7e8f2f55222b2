"""Trained agents on made bars through the whole of `benchmarks.replay`: orders equal, report and page left behind."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import replay
from cappuccino_ml.bars import SimulatedSource, Universe

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> replay.Month:
    universe = Universe(tickers=("BTC", "ETH", "LTC"))
    source = SimulatedSource(seed=3, start=START, end=END)
    return replay.last_days(source, universe, days=4, state=tmp_path_factory.mktemp("month"))


@pytest.mark.parametrize("arm", replay.AGENTS)
def test_a_trained_agent_of_each_arm_gives_its_backtests_orders_and_a_page(
    month: replay.Month, tmp_path: Path, arm: str
) -> None:
    held = replay.hold(month, arm, steps=8192, state=tmp_path)
    found = held.report.session.comparison
    assert found.orders_equal, found.deviations
    assert found.bars == 96
    assert found.fills == found.backtest_fills > 4
    assert abs(found.return_gap) < 1e-9
    assert held.report.decision.settings == replay.GoSettings()
    page = held.page.read_text()
    assert "REHEARSAL: no model is deployed" in page
    assert page.count("data:image/png") == 2
    assert "MLflow run" not in page
