"""The gate sees through luck but not through a leak: who is shown the next return wins by a mile, one bar late not."""

from pathlib import Path

import pytest

from benchmarks import cheater
from benchmarks.cheater import judged, leaking
from cappuccino_ml.features import MarketTable


@pytest.fixture(scope="module")
def placebo() -> MarketTable:
    return cheater.placebo()


def test_who_is_shown_the_next_return_wins_by_a_mile(placebo: MarketTable, tmp_path: Path) -> None:
    report = judged(leaking(placebo, bars_late=0), tmp_path)
    assert report.verdict.outcome == "win"
    assert report.verdict.test is not None
    assert report.verdict.test.lower > 10.0
    assert report.superior.p_value(0) == pytest.approx(1 / 300)
    assert report.overfitting.deflated_sharpe > 0.999
    assert report.stress["double costs"] > 5.0
    # The one-bar extra lag of the stress table is the same lesson: what was known too early is worth nothing later.
    assert report.stress["one bar later"] < 0.0


def test_the_same_one_bar_late_loses_it(placebo: MarketTable, tmp_path: Path) -> None:
    report = judged(leaking(placebo, bars_late=1), tmp_path)
    assert report.verdict.outcome == "reject"
    assert {"a", "b", "c"} <= {clause.name for clause in report.verdict.failing}
    assert report.superior.superior == ()
    assert report.verdict.test is not None
    assert report.verdict.test.upper < 0.0
