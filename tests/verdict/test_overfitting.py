"""Deflated Sharpe against its paper and skfolio; PBO against a second package and a plain loop."""

import itertools
import math

import numpy as np
import pytest
from holdout import probability_of_backtest_overfitting
from skfolio.measures import deflated_sharpe_ratio, expected_max_sharpe_ratio

from cappuccino_ml.metrics import annual_sharpe
from cappuccino_ml.verdict import cscv, expected_best_sharpe, overfitting

HOURLY = 8760.0


def trials(seed: int, *, bars: int = 1600, count: int = 10, sharpe: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.004 * (rng.standard_t(5, (bars, count)) + sharpe / math.sqrt(HOURLY))


def test_the_expected_best_of_a_hundred_trials_is_the_papers() -> None:
    # Bailey and Lopez de Prado (2014), numerical example: variance 1/2 of annual Sharpes, 250 days a year.
    assert expected_best_sharpe(spread=math.sqrt(0.5 / 250), trials=100) == pytest.approx(0.1132, abs=5e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 100, 5000])
def test_the_expected_best_agrees_with_skfolio(count: int) -> None:
    assert expected_best_sharpe(spread=0.7, trials=count) == pytest.approx(expected_max_sharpe_ratio(count, 0.7))


@pytest.mark.parametrize("seed", range(3))
def test_the_deflated_sharpe_agrees_with_skfolio(seed: int) -> None:
    returns = trials(seed, bars=17_520, sharpe=1.0)
    best = int(np.argmax(returns.mean(axis=0) / returns.std(axis=0)))
    found = overfitting(returns=returns, candidate=best, bars_per_year=HOURLY, trials_counted=10)
    per_bar = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    # skfolio's moments divide by T - 1, ours by T.
    assert found.deflated_sharpe == pytest.approx(deflated_sharpe_ratio(returns[:, best], per_bar), abs=1e-4)
    assert found.best_sharpe == annual_sharpe(returns[:, best], HOURLY)


def test_every_earlier_trial_on_the_same_data_lowers_the_deflated_sharpe() -> None:
    returns = trials(0, sharpe=3.0)
    few, many = (overfitting(returns=returns, candidate=0, bars_per_year=HOURLY, trials_counted=n) for n in (10, 500))
    assert many.expected_best_sharpe > few.expected_best_sharpe
    assert many.deflated_sharpe < few.deflated_sharpe
    with pytest.raises(ValueError, match="count at least those of this study"):
        overfitting(returns=returns, candidate=0, bars_per_year=HOURLY, trials_counted=9)


@pytest.mark.parametrize(("seed", "bars", "blocks"), [(0, 1600, 16), (1, 1613, 16), (2, 1600, 8), (3, 400, 4)])
def test_pbo_and_the_share_of_losses_agree_with_a_second_package(seed: int, bars: int, blocks: int) -> None:
    returns = trials(seed, bars=bars)
    found, oracle = cscv(returns, blocks=blocks), probability_of_backtest_overfitting(returns, n_blocks=blocks)
    assert found.partitions == oracle.n_partitions == math.comb(blocks, blocks // 2)
    assert found.pbo == pytest.approx(oracle.pbo, abs=1e-12)
    assert found.loss_share == pytest.approx(oracle.probability_of_loss, abs=1e-12)


def test_pbo_agrees_with_the_papers_recipe_as_a_plain_loop() -> None:
    returns = trials(4, bars=480, count=5)
    parts = np.array_split(returns, 6)
    lower = losses = count = 0
    for chosen in itertools.combinations(range(6), 3):
        inside = np.concatenate([parts[block] for block in chosen])
        outside = np.concatenate([parts[block] for block in range(6) if block not in chosen])
        winner = int(np.argmax([annual_sharpe(column, 1.0) for column in inside.T]))
        scores = [annual_sharpe(column, 1.0) for column in outside.T]
        omega = (1 + sum(score < scores[winner] for score in scores)) / (len(scores) + 1)
        lower += math.log(omega / (1 - omega)) <= 0
        losses += scores[winner] < 0
        count += 1
    found = cscv(returns, blocks=6)
    assert (found.partitions, found.pbo, found.loss_share) == (count, lower / count, losses / count)


def test_noise_has_a_pbo_about_one_half_and_one_good_trial_among_many_none() -> None:
    noise = np.mean([cscv(trials(seed)).pbo for seed in range(20)])
    assert 0.35 < noise < 0.65
    good = trials(0)
    good[:, 3] += 0.004 * 30 / math.sqrt(HOURLY)
    assert cscv(good).pbo < 0.01
    assert cscv(good).loss_share == 0.0


def test_a_study_in_which_everything_works_looks_overfitted_so_these_are_no_clauses() -> None:
    # Why statistics of the search alone may not decide: a hundred equally skilled trials, true Sharpe 3, two years.
    returns = trials(1, bars=17_520, count=100, sharpe=3.0)
    best = int(np.argmax(returns.mean(axis=0)))
    found = overfitting(returns=returns, candidate=best, bars_per_year=HOURLY, trials_counted=100)
    assert found.selection is not None
    assert found.selection.pbo > 0.3
    assert found.best_sharpe > 3.0


def test_a_trial_that_never_trades_has_a_sharpe_of_zero_and_is_no_error() -> None:
    returns = trials(0, count=3, sharpe=-60.0)
    returns[:, 1] = 0.0
    assert cscv(returns).pbo == 0.0
    found = overfitting(returns=returns, candidate=1, bars_per_year=HOURLY, trials_counted=3)
    assert (found.best_sharpe, found.deflated_sharpe) == (0.0, 0.0)


def test_one_trial_or_too_few_bars_have_no_pbo() -> None:
    alone = overfitting(returns=trials(0, count=1), candidate=0, bars_per_year=HOURLY, trials_counted=1)
    assert (alone.selection, alone.expected_best_sharpe) == (None, 0.0)
    short = overfitting(returns=trials(0, bars=31), candidate=0, bars_per_year=HOURLY, trials_counted=10)
    assert short.selection is None
    with pytest.raises(ValueError, match="two bars a block"):
        cscv(trials(0, bars=31))
    with pytest.raises(ValueError, match="an even number of blocks"):
        cscv(trials(0), blocks=7)
    with pytest.raises(ValueError, match="not finite"):
        overfitting(returns=np.full((100, 2), np.nan), candidate=0, bars_per_year=HOURLY, trials_counted=2)
