"""StepM against arch's on the same draws, its family-wise error without skill, its power however many have skill."""

import math

import numpy as np
import pytest
from arch.bootstrap import SPA, CircularBlockBootstrap, StepM

from cappuccino_ml.verdict import superior_set
from cappuccino_ml.verdict.superior import resampled_means, step_down

HOURLY = 8760.0


def active(seed: int, *, bars: int = 2400, trials: int = 8, edge: dict[int, float] | None = None) -> np.ndarray:
    """Correlated t(5) active returns; column k has an annual Sharpe of `edge[k]`."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_t(5, (bars, 1)), rng.standard_t(5, (bars, trials))
    unit = (math.sqrt(0.5) * common + math.sqrt(0.5) * own) / math.sqrt(5 / 3)
    drift = np.array([(edge or {}).get(trial, 0.0) for trial in range(trials)]) / math.sqrt(HOURLY)
    return 0.002 * (unit + drift)


def numbered(trials: int) -> tuple[int, ...]:
    return tuple(range(trials))


def test_resampled_means_agree_with_archs_circular_block_bootstrap() -> None:
    values = active(0, bars=240, trials=3)
    starts = np.random.default_rng(5).integers(0, 240, size=(50, 10))
    oracle = CircularBlockBootstrap(24, values, seed=5)
    expected = [data[0][0].mean(axis=0) for data in oracle.bootstrap(50)]
    np.testing.assert_allclose(resampled_means(values, starts, 24), expected, rtol=1e-10, atol=1e-15)


def test_chunked_resamples_equal_unchunked_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    values = active(0, bars=240, trials=3)
    starts = np.random.default_rng(1).integers(0, 240, size=(101, 10))
    whole = resampled_means(values, starts, 24)
    monkeypatch.setattr("cappuccino_ml.verdict.superior._CHUNK_VALUES", 300)
    np.testing.assert_array_equal(resampled_means(values, starts, 24), whole)


@pytest.mark.parametrize("seed", range(12))
def test_the_superior_set_and_its_p_value_agree_with_archs_on_the_same_draws(seed: int) -> None:
    values = active(seed, edge={1: 9.0, 2: 6.0, 5: 4.0, 6: -8.0})
    bars, trials = values.shape
    starts = np.random.default_rng(seed).integers(0, bars, size=(499, bars // 24))
    means = resampled_means(values, starts, 24)
    _, p_values = step_down(values.mean(axis=0), means, bars=bars)
    # arch does not divide by the standard error (its `studentize` enters a bound only), so it is given scaled columns.
    losses = -values / means.std(axis=0)
    oracle = StepM(np.zeros(bars), losses, size=0.05, block_size=24, reps=499, bootstrap="cbb", seed=seed)
    oracle.compute()
    near = np.abs(p_values - 0.05) <= 0.004  # arch interpolates the quantile, a p-value counts resamples
    ours, theirs = p_values <= 0.05, np.isin(np.arange(trials), oracle.superior_models)
    assert np.array_equal(ours[~near], theirs[~near])
    spa = SPA(np.zeros(bars), losses, block_size=24, reps=499, bootstrap="cbb", seed=seed)
    spa.compute()
    assert p_values.min() == pytest.approx((499 * spa.pvalues["consistent"] + 1) / 500, abs=0.003)


def test_all_trials_can_be_superior_where_arch_ends_in_an_error() -> None:
    values = active(3, edge=dict.fromkeys(range(4), 30.0), trials=4) * [1.0, 1.0, 1.0, 0.05]
    found = superior_set(active=values, trials=numbered(4), seed=0, resamples=499)
    assert found.superior == (0, 1, 2, 3)
    oracle = StepM(np.zeros(len(values)), -values, size=0.05, block_size=24, reps=499, bootstrap="cbb", seed=0)
    with pytest.raises(ValueError, match="zero-size array"):
        oracle.compute()


def test_without_skill_at_most_one_study_in_twenty_names_any_trial() -> None:
    named = sum(
        bool(superior_set(active=active(seed, bars=1200), trials=numbered(8), seed=seed, resamples=199).superior)
        for seed in range(200)
    )
    assert named <= 18  # 5% of 200 is 10; 18 is two and a half standard errors above


@pytest.mark.parametrize("skilled", [1, 8])
def test_skill_is_found_whether_one_trial_has_it_or_all(skilled: int) -> None:
    found = 0
    for seed in range(20):
        values = active(seed, bars=17_520, edge=dict.fromkeys(range(skilled), 4.0))
        named = superior_set(active=values, trials=numbered(8), seed=seed, resamples=199).superior
        found += set(range(skilled)) <= set(named)
    assert found >= 18


def test_the_size_of_a_trials_bets_does_not_matter() -> None:
    values = active(1, edge={2: 9.0})
    timid = values * [1.0, 1.0, 0.01, 1.0, 1.0, 1.0, 1.0, 1.0]
    one, other = (superior_set(active=x, trials=numbered(8), seed=4, resamples=499) for x in (values, timid))
    assert one.p_values == other.p_values
    assert one.statistics == pytest.approx(other.statistics)


def test_bad_trials_take_no_power_from_good_ones() -> None:
    good = active(2, trials=1)
    good += 2.3 * good.std() / math.sqrt(len(good)) - good.mean()  # a p-value of about 0.01 if it were alone
    bad = active(3, edge=dict.fromkeys(range(40), -60.0), trials=40)
    alone = superior_set(active=good, trials=numbered(1), seed=4, resamples=999)
    among = superior_set(active=np.column_stack([good, bad]), trials=numbered(41), seed=4, resamples=999)
    assert 0.002 < alone.p_value(0) < 0.03
    assert among.p_value(0) == pytest.approx(alone.p_value(0), abs=0.005)


def test_more_trials_without_skill_make_it_harder() -> None:
    values = active(7, edge={0: 6.5}, trials=60)
    few = superior_set(active=values[:, :2], trials=numbered(2), seed=4)
    many = superior_set(active=values, trials=numbered(60), seed=4)
    assert many.p_value(0) > 2 * few.p_value(0)


def test_p_values_grow_as_statistics_fall() -> None:
    found = superior_set(active=active(5, edge={3: 5.0}), trials=numbered(8), seed=4, resamples=499)
    order = np.argsort(found.statistics)[::-1]
    assert (np.diff(np.array(found.p_values)[order]) >= 0).all()


def test_the_same_seed_gives_the_same_result_and_another_seed_another() -> None:
    values = active(0)
    first, again, other = (superior_set(active=values, trials=numbered(8), seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first.p_values != other.p_values


def test_a_trial_that_equals_its_benchmark_is_never_superior() -> None:
    values = active(0, edge={0: 30.0})
    values[:, 3] = 0.0
    found = superior_set(active=values, trials=(10, 11, 12, 13, 14, 15, 16, 17), seed=0, resamples=199)
    assert (found.p_value(13), found.superior) == (1.0, (10,))
    with pytest.raises(ValueError, match="trial 3 is not among the 8 tested"):
        found.p_value(3)


@pytest.mark.parametrize(
    ("values", "obstacle"),
    [(active(0, bars=239), "239 development bars are fewer than 240"), (np.zeros((500, 8)), "no trial ever differs")],
)
def test_what_cannot_be_tested_names_nobody_and_says_why(values: np.ndarray, obstacle: str) -> None:
    found = superior_set(active=values, trials=numbered(8), seed=0, resamples=199)
    assert (found.superior, set(found.p_values)) == ((), {1.0})
    assert found.obstacle is not None
    assert obstacle in found.obstacle


def test_values_that_are_not_finite_or_not_named_are_refused() -> None:
    values = active(0)
    with pytest.raises(ValueError, match=r"pass \[bars, trials\]"):
        superior_set(active=values, trials=numbered(3), seed=0)
    values[7, 2] = np.nan
    with pytest.raises(ValueError, match="1 values that are not finite"):
        superior_set(active=values, trials=numbered(8), seed=0)
