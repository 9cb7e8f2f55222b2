"""Each outcome of the gate, for the reason it states; a worse candidate never wins."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.metrics import annual_sharpe
from cappuccino_ml.verdict import GateSettings, SuperiorSet, Verdict, choose_incumbent, judge

HOURLY = 8760.0
BARS = 4380
FAST = GateSettings(resamples=499)


def returns(seed: int, *, sharpe: float = 0.0, bars: int = BARS) -> np.ndarray:
    """Returns whose sample Sharpe is exactly `sharpe`."""
    draw = np.random.default_rng(seed).standard_t(5, bars)
    draw = (draw - draw.mean()) / draw.std()
    return 0.004 * (draw + sharpe / np.sqrt(HOURLY))


def trials_with(**p_values: float) -> SuperiorSet:
    """StepM's answer for trials named t0, t1, ... with these p-values."""
    numbers = tuple(int(name[1:]) for name in p_values)
    values = tuple(p_values.values())
    return SuperiorSet(
        trials=numbers,
        statistics=tuple(3.0 - p for p in values),
        p_values=values,
        superior=tuple(number for number, p in zip(numbers, values, strict=True) if p <= 0.05),
        alpha=0.05,
        bars=8760,
        block=24,
        resamples=499,
    )


def verdict(**changes: Any) -> Verdict:
    """A clear win, but for what `changes` says."""
    arguments: dict[str, Any] = {
        "superior": trials_with(t0=0.4, t3=0.01),
        "candidate_trial": 3,
        "candidate": returns(1, sharpe=8.0),
        "incumbent": returns(2, sharpe=0.0),
        "incumbent_name": "champion",
        "candidate_dearer": returns(1, sharpe=6.0),
        "equal_weight_dearer": returns(2, sharpe=-0.5),
        "drawdown": 0.2,
        "turnover_per_day": 0.5,
        "bars_per_year": HOURLY,
        "seed": 0,
        "settings": FAST,
    }
    return judge(**(arguments | changes))


def failing(result: Verdict) -> list[str]:
    return [clause.name for clause in result.failing]


def test_a_clearly_better_candidate_wins_by_every_clause() -> None:
    result = verdict()
    assert result.outcome == "win"
    assert not result.failing
    assert [(clause.name, clause.passed) for clause in result.clauses] == [
        ("a", True),
        ("b", True),
        ("c", True),
        ("d", True),
        ("d", True),
    ]
    assert result.test is not None
    assert result.test.lower > 0


def test_a_candidate_outside_the_superior_set_does_not_win_however_good_its_holdout() -> None:
    result = verdict(candidate_trial=0)
    assert result.outcome == "inconclusive"
    assert failing(result) == ["a"]
    assert (
        "trial 0 in StepM over all 2 completed trials: not met by 0.350 (p 0.400 against at most 0.050)"
        in (result.reasons[0])
    )
    assert verdict(superior=trials_with(t3=0.05)).outcome == "win"


def test_folds_too_short_to_test_are_inconclusive_with_the_reason() -> None:
    short = trials_with(t3=1.0).model_copy(update={"obstacle": "100 development bars are fewer than 240"})
    result = verdict(superior=short)
    assert (result.outcome, failing(result)) == ("inconclusive", ["a"])
    assert "not met: 100 development bars are fewer than 240" in result.reasons[0]


def test_trials_tested_at_another_level_or_without_the_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at level 0\.05, not at 0\.01"):
        verdict(settings=FAST.model_copy(update={"familywise_alpha": 0.01}))
    with pytest.raises(ValueError, match="trial 7 is not among the 2 tested"):
        verdict(candidate_trial=7)


def test_against_cash_the_candidates_own_sharpe_is_trials_with() -> None:
    result = verdict(incumbent=np.zeros(BARS), incumbent_name="cash")
    assert result.outcome == "win"
    assert result.test is not None
    assert result.test.difference == pytest.approx(annual_sharpe(returns(1, sharpe=8.0), HOURLY))
    assert result.power.correlation is None
    with pytest.raises(ValueError, match="not all zero"):
        verdict(incumbent_name="cash")


def test_a_difference_the_holdout_cannot_show_is_inconclusive() -> None:
    result = verdict(candidate=returns(1, sharpe=0.5))
    assert result.outcome == "inconclusive"
    assert failing(result) == ["b"]
    assert "not met by" in result.reasons[0]


def test_not_beating_equal_weight_at_doubled_fees_is_inconclusive() -> None:
    result = verdict(equal_weight_dearer=returns(3, sharpe=6.5))
    assert result.outcome == "inconclusive"
    assert failing(result) == ["c"]
    assert "not met by 0.500 (6.000 against 6.500)" in result.reasons[0]


def test_a_candidate_surely_worse_is_rejected() -> None:
    result = verdict(candidate=returns(1, sharpe=-8.0))
    assert result.outcome == "reject"
    assert result.test is not None
    assert result.test.upper < 0
    assert result.reasons[0].startswith("worse than champion")


@pytest.mark.parametrize(("change", "margin"), [({"drawdown": 0.4}, "0.050"), ({"turnover_per_day": 1.25}, "0.250")])
def test_too_much_drawdown_or_turnover_is_rejected_however_good_the_rest(change: dict[str, float], margin: str) -> None:
    result = verdict(**change)
    assert result.outcome == "reject"
    assert failing(result) == ["d"]
    assert f"broken by {margin}" in result.reasons[0]


def test_limits_are_met_at_exactly_their_value() -> None:
    assert verdict(drawdown=0.35, turnover_per_day=1.0).outcome == "win"


def test_a_candidate_that_never_trades_is_rejected_as_flat_also_against_cash() -> None:
    for name, incumbent in (("champion", returns(2)), ("cash", np.zeros(BARS))):
        result = verdict(candidate=np.zeros(BARS), incumbent=incumbent, incumbent_name=name)
        assert (result.outcome, result.flat, result.test) == ("reject", True, None)
        assert result.reasons[0].startswith("flat: the candidate never trades")


def test_a_champion_that_never_trades_cannot_be_compared_with_so_the_candidate_is_rejected_as_flat() -> None:
    result = verdict(incumbent=np.zeros(BARS))
    assert (result.outcome, result.flat) == ("reject", True)
    assert "the incumbent champion never trades" in result.reasons[0]


def test_a_holdout_too_short_to_test_is_inconclusive_not_an_error() -> None:
    short = {
        name: returns(seed, sharpe=9.0, bars=100)
        for seed, name in enumerate(("candidate", "incumbent", "candidate_dearer", "equal_weight_dearer"))
    }
    short["equal_weight_dearer"] = returns(3, sharpe=0.0, bars=100)
    result = verdict(**short)
    assert (result.outcome, failing(result)) == ("inconclusive", ["b"])
    assert "100 bars are fewer than 10 blocks of 24" in result.reasons[0]


def test_a_candidate_equal_to_the_champion_is_inconclusive() -> None:
    same = returns(1, sharpe=3.0)
    assert verdict(candidate=same, incumbent=same).outcome == "inconclusive"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), gap=st.floats(0.01, 30.0), sharpe=st.floats(-5.0, 5.0))
def test_defect_16_a_worse_candidate_never_wins(seed: int, gap: float, sharpe: float) -> None:
    result = verdict(candidate=returns(seed, sharpe=sharpe - gap), incumbent=returns(seed + 1, sharpe=sharpe))
    assert result.outcome != "win"
    assert "b" in failing(result)
    dearer = verdict(
        candidate_dearer=returns(seed, sharpe=sharpe - gap), equal_weight_dearer=returns(seed, sharpe=sharpe)
    )
    assert "c" in failing(dearer)


def test_with_no_champion_the_better_of_cash_and_equal_weight_on_development_is_the_incumbent() -> None:
    zeros = np.zeros(BARS)
    assert (
        choose_incumbent(development={"cash": zeros, "equal_weight": returns(0, sharpe=1.0)}, bars_per_year=HOURLY)
        == "equal_weight"
    )
    assert (
        choose_incumbent(development={"cash": zeros, "equal_weight": returns(0, sharpe=-1.0)}, bars_per_year=HOURLY)
        == "cash"
    )
    assert choose_incumbent(development={"cash": zeros, "equal_weight": zeros}, bars_per_year=HOURLY) == "cash"
    with pytest.raises(ValueError, match="pass those of cash and equal_weight"):
        choose_incumbent(development={"cash": zeros}, bars_per_year=HOURLY)


def test_a_verdict_is_json_and_carries_its_thresholds_and_what_the_holdout_could_have_shown() -> None:
    result = verdict()
    assert Verdict.model_validate_json(result.model_dump_json()) == result
    assert result.settings == FAST
    assert result.power.minimum_detectable_difference > 0
    assert "4,380 bars (0.50 years)" in result.power.sentence


def test_series_of_different_holdouts_are_refused() -> None:
    with pytest.raises(ValueError, match="same holdout"):
        verdict(candidate_dearer=returns(1, bars=100))
    with pytest.raises(ValueError, match="not finite"):
        verdict(candidate=np.full(BARS, np.nan))
    with pytest.raises(ValueError, match="at least 0"):
        verdict(drawdown=float("nan"))
