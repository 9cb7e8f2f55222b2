"""Go, no-go, extend: each criterion turns the outcome, and the drawdown band is what a plain bootstrap says."""

from typing import Any

import numpy as np
import pytest

from cappuccino_ml.metrics import max_drawdown
from cappuccino_ml.trading.decision import Decision, GoSettings, decide_session, drawdown_quantile
from cappuccino_ml.trading.deviations import Deviation
from cappuccino_ml.trading.drill import Drill, Scenario
from cappuccino_ml.trading.record import Faults
from cappuccino_ml.trading.report import Comparison

PER_YEAR = 8760.0
REFERENCE = np.random.default_rng(5).normal(0.0001, 0.004, 2000)
GOOD: dict[str, Any] = {
    "label": "paper session",
    "bars": 48,
    "hours": 48.0,
    "orders_equal": True,
    "differing_bars": 0,
    "deviations": (),
    "fills": 31,
    "backtest_fills": 31,
    "turnover": 2.0,
    "total_return": 0.01,
    "return_gap": 0.0,
    "gap_bps_per_turnover": 0.0,
    "max_drawdown": 0.02,
    "sharpe": 3.0,
    "sharpe_error": 13.5,
    "backtest_sharpe": 3.0,
}


def odd(*, explained: bool) -> Deviation:
    return Deviation(bar="2024-01-14T08:00", symbol="BTC-USD", ours=0, theirs=1, cause="why", explained=explained)


def drill(*passed: bool | None) -> Drill:
    scenarios = tuple(Scenario(name=f"guard {n}", expected="", seen="seen", passed=one) for n, one in enumerate(passed))
    return Drill(model_key="k", model_version="1", bar="2024-01-14T08:00", scenarios=scenarios)


def decided(**changes: Any) -> Decision:
    given: dict[str, Any] = {
        "faults": Faults(counts={}, first={}, crashes=0),
        "drill": drill(True, True),
        "reference": REFERENCE,
        "settings": GoSettings(resamples=499),
    }
    given |= {name: changes.pop(name) for name in list(changes) if name in given}
    return decide_session(comparison=Comparison(**{**GOOD, **changes}), bars_per_year=PER_YEAR, **given)


def test_a_session_that_meets_everything_is_a_go_with_its_thresholds_stored() -> None:
    found = decided()
    assert (found.outcome, found.reasons) == ("go", ())
    assert [one.passed for one in found.criteria[:-1]] == [True] * 8
    assert found.criteria[-1].otherwise == "reported"
    assert Decision.model_validate_json(found.model_dump_json()).settings == GoSettings(resamples=499)


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"faults": Faults(counts={"cut_short": 1}, first={}, crashes=1)}, "no-go", "no crash: 1, limit 0"),
        ({"gap_bps_per_turnover": -5.01}, "no-go", "return gap to the backtest of the same bars: -5.01 bps"),
        ({"deviations": (odd(explained=False),)}, "no-go", "1 of 1 deviating orders unexplained"),
        ({"deviations": (odd(explained=True),)}, "go", ""),
        ({"fills": 9}, "extend", "fills: 9, limit >= 10"),
        ({"hours": 23.0}, "extend", "length of the session: 23 h"),
        ({"hours": 168.0, "bars": 168}, "go", ""),
        ({"max_drawdown": 0.2}, "no-go", "drawdown within the 95% bootstrap band of its length: 20.00%, limit <= "),
        ({"reference": REFERENCE[:200]}, "extend", "200 bars before the session, 240 are needed"),
        ({"reference": np.zeros(2000)}, "extend", "the model never traded in the 2000 bars before"),
        ({"drill": None}, "extend", "guards shown by a drill: no drill"),
        ({"drill": drill(True, None)}, "extend", "1 of 2 shown"),
        ({"drill": drill(False, None)}, "no-go", "guard 0: seen"),
        ({"faults": Faults(counts={"stale": 2}, first={}, crashes=0)}, "no-go", "feed never stale: 2, limit 0"),
        ({"fills": 9, "gap_bps_per_turnover": 6.0}, "no-go", "return gap"),
        ({"sharpe": -9.0}, "go", ""),
    ],
)
def test_each_criterion_turns_the_outcome_and_is_named(changes: dict[str, Any], outcome: str, reason: str) -> None:
    found = decided(**changes)
    assert found.outcome == outcome
    assert reason in "; ".join(found.reasons)
    assert bool(found.reasons) == (outcome != "go")


def test_the_band_is_the_quantile_of_drawdowns_of_block_paths() -> None:
    settings = GoSettings(resamples=999, drawdown_level=0.9)
    worst, block = drawdown_quantile(REFERENCE, bars=100, settings=settings)
    random, found = np.random.default_rng(1), []
    for _ in range(999):
        starts = random.integers(0, len(REFERENCE), size=-(-100 // block))
        path = np.concatenate([np.take(REFERENCE, range(start, start + block), mode="wrap") for start in starts])[:100]
        found.append(max_drawdown(path))
    assert worst == pytest.approx(np.quantile(found, 0.9), rel=0.08)
    assert worst > drawdown_quantile(REFERENCE, bars=24, settings=settings)[0]


def test_the_band_holds_for_paths_of_the_same_market() -> None:
    worst, _ = drawdown_quantile(REFERENCE, bars=48, settings=GoSettings(resamples=999))
    others = np.random.default_rng(6).normal(0.0001, 0.004, (400, 48))
    inside = np.mean([max_drawdown(path) <= worst for path in others])
    assert 0.9 < inside < 0.99
