"""The paired test against plain loops, its size under the null, its power on a planted difference."""

import math
import time

import numpy as np
import pytest
from statsmodels.stats.sandwich_covariance import S_hac_simple

from cappuccino_ml.verdict.bootstrap import (
    NotTestableError,
    choose_block,
    hac_variance,
    paired_sharpe_test,
    parzen,
    resample_statistics,
    sharpe_and_gradient,
    sharpe_interval,
)

HOURLY = 8760.0


def pair(seed: int, bars: int, *, edge: float = 0.0, correlation: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Correlated t(5) returns; the first has `edge` more annual Sharpe."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_t(5, bars), rng.standard_t(5, (2, bars))
    unit = (math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own) / math.sqrt(5 / 3)
    return 0.005 * (unit[0] + edge / math.sqrt(HOURLY)), 0.005 * unit[1]


def plain_resample(series: np.ndarray, starts: np.ndarray, block: int) -> tuple[float, float]:
    """Ledoit and Wolf (2008), section 3.2, one resample: full covariance of the moments, then the gradient."""
    bars = len(series)
    rows = np.array([series[(start + step) % bars] for start in starts for step in range(block)])
    means, raws = rows.mean(axis=0), (rows**2).mean(axis=0)
    variances = raws - means**2
    signs = [1.0, -1.0][: series.shape[1]]
    difference = sum(sign * m / math.sqrt(v) for sign, m, v in zip(signs, means, variances, strict=True))
    gradient = [sign * g / v**1.5 for sign, g, v in zip(signs, raws, variances, strict=True)]
    gradient += [-sign * m / (2 * v**1.5) for sign, m, v in zip(signs, means, variances, strict=True)]
    centred = np.concatenate([rows - means, rows**2 - raws], axis=1)
    covariance = np.zeros((centred.shape[1], centred.shape[1]))
    for j in range(len(starts)):
        zeta = centred[j * block : (j + 1) * block].sum(axis=0) / math.sqrt(block)
        covariance += np.outer(zeta, zeta) / len(starts)
    return difference, math.sqrt(np.array(gradient) @ covariance @ np.array(gradient) / len(rows))


@pytest.mark.parametrize("sides", [1, 2])
def test_resamples_agree_with_a_plain_loop(sides: int) -> None:
    series = np.column_stack(pair(0, 250))[:, :sides]
    starts = np.random.default_rng(1).integers(0, 250, size=(20, 10))
    fast = np.column_stack(resample_statistics(series, starts, 24))
    plain = np.array([plain_resample(series, row, 24) for row in starts])
    np.testing.assert_allclose(fast, plain, rtol=1e-10, atol=1e-10)


def test_chunked_resamples_equal_unchunked_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    series = np.column_stack(pair(0, 250))
    starts = np.random.default_rng(1).integers(0, 250, size=(101, 10))
    whole = resample_statistics(series, starts, 24)
    monkeypatch.setattr("cappuccino_ml.verdict.bootstrap._CHUNK_VALUES", 300)
    np.testing.assert_allclose(resample_statistics(series, starts, 24), whole, rtol=1e-13)


def test_the_gradient_is_the_slope_of_the_difference() -> None:
    moments = np.array([0.1, -0.2, 1.1, 2.0])
    _, gradient = sharpe_and_gradient(moments)
    for entry in range(4):
        step = np.eye(4)[entry] * 1e-6
        slope = (sharpe_and_gradient(moments + step)[0] - sharpe_and_gradient(moments - step)[0]) / 2e-6
        assert gradient[entry] == pytest.approx(slope, rel=1e-6)


def test_the_long_run_variance_agrees_with_statsmodels_and_with_theory() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=20_001)
    series = np.empty(20_000)
    last = 0.0
    for bar in range(20_000):
        last = series[bar] = 0.4 * last + noise[bar]
    series -= series.mean()
    rho = (series[1:] @ series[:-1]) / (series[:-1] @ series[:-1])
    bandwidth = 2.6614 * (4 * rho**2 / (1 - rho) ** 4 * series.size) ** 0.2
    weights = np.array([parzen(lag / bandwidth) for lag in range(int(bandwidth) + 1)])
    oracle = S_hac_simple(series[:, None], nlags=int(bandwidth), weights_func=lambda nlags: weights)
    assert hac_variance(series) == pytest.approx(float(np.squeeze(oracle)) / series.size, rel=1e-10)
    assert hac_variance(series) == pytest.approx(1 / 0.6**2, rel=0.1)


def test_the_standard_error_is_the_textbook_one_for_independent_bars() -> None:
    ours, theirs = pair(3, 8760)
    test = paired_sharpe_test(candidate=ours, incumbent=theirs, bars_per_year=HOURLY, seed=0, resamples=99)
    assert test.standard_error == pytest.approx(math.sqrt(2 * (1 - np.corrcoef(ours, theirs)[0, 1])), rel=0.05)
    alone = sharpe_interval(ours, bars_per_year=HOURLY, seed=0, resamples=99)
    assert alone.standard_error == pytest.approx(1.0, rel=0.05)


def test_under_equal_sharpes_the_one_sided_test_rejects_about_one_in_twenty() -> None:
    paired = single = 0
    for seed in range(200):
        ours, theirs = pair(seed, 500)
        test = paired_sharpe_test(candidate=ours, incumbent=theirs, bars_per_year=HOURLY, seed=seed, resamples=299)
        paired += test.lower > 0
        single += sharpe_interval(ours, bars_per_year=HOURLY, seed=seed, resamples=299).lower > 0
    assert paired <= 18
    assert single <= 18


def test_a_planted_difference_is_found_and_its_mirror_image_is_a_loss() -> None:
    found = 0
    for seed in range(20):
        ours, theirs = pair(seed, 4380, edge=4.0)
        test = paired_sharpe_test(candidate=ours, incumbent=theirs, bars_per_year=HOURLY, seed=seed, resamples=299)
        found += test.lower > 0 and test.p_value < 0.05
        mirror = paired_sharpe_test(candidate=theirs, incumbent=ours, bars_per_year=HOURLY, seed=seed, resamples=299)
        assert mirror.difference == pytest.approx(-test.difference)
        assert (mirror.upper, mirror.lower) == pytest.approx((-test.lower, -test.upper))
    assert found >= 18


def test_the_p_value_and_the_interval_tell_the_same_story() -> None:
    for seed in range(30):
        ours, theirs = pair(seed, 1000, edge=4.0)
        test = paired_sharpe_test(candidate=ours, incumbent=theirs, bars_per_year=HOURLY, seed=seed, resamples=999)
        if not 0.045 < test.p_value < 0.055:
            assert (test.interval[0] > 0 or test.interval[1] < 0) == (test.p_value < 0.05)
        assert test.interval[0] < test.difference < test.interval[1]
        assert test.lower < test.difference < test.upper


def test_the_same_seed_gives_the_same_result_and_another_seed_another() -> None:
    ours, theirs = pair(0, 1000)
    first, again, other = (
        paired_sharpe_test(candidate=ours, incumbent=theirs, bars_per_year=HOURLY, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert first.lower != other.lower


def test_blocks_have_at_least_a_day_and_grow_with_dependence() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4000, 1))
    assert choose_block(noise, min_block=24) == 24
    smooth = np.convolve(noise[:, 0], np.ones(60) / 60, mode="valid")[:, None]
    assert 24 < choose_block(smooth, min_block=24) <= len(smooth) // 10


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (np.zeros(500), pair(0, 500)[1], "candidate never trades"),
        (pair(0, 500)[0], np.zeros(500), "incumbent never trades"),
        (*pair(0, 200), "fewer than 10 blocks of 24"),
        (pair(0, 500)[0], pair(0, 500)[0], "move as one"),
        (pair(0, 500)[0], 2 * pair(0, 500)[0], "move as one"),
        (np.where(np.arange(1000) < 5, pair(0, 1000)[0], 0.0), pair(0, 1000)[1], "never vary"),
    ],
)
def test_returns_that_cannot_be_tested_are_refused(ours: np.ndarray, theirs: np.ndarray, message: str) -> None:
    with pytest.raises(NotTestableError, match=message):
        paired_sharpe_test(candidate=ours, incumbent=theirs, bars_per_year=HOURLY, seed=0, resamples=299)


def test_half_a_year_with_the_full_number_of_resamples_takes_under_three_seconds() -> None:
    ours, theirs = pair(0, 4380)
    began = time.process_time()
    test = paired_sharpe_test(candidate=ours, incumbent=theirs, bars_per_year=HOURLY, seed=0)
    assert time.process_time() - began < 3.0
    assert test.resamples == 4999
