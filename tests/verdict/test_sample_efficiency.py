"""What is said about a comparison of arms follows from its numbers, on invented returns whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.metrics import annual_sharpe, mean_interval
from cappuccino_ml.study import ArmRun, Comparison, ComparisonSettings
from cappuccino_ml.verdict import SampleEfficiency, sample_efficiency

BARS, PER_YEAR = 4000, 8760.0
SETTINGS = ComparisonSettings(steps=(100, 400), seeds=4)


def judged(root: Path, drift: dict[tuple[str, int], float]) -> SampleEfficiency:
    """Every run is one market path plus a drift of its point and a little luck of its own."""
    random = np.random.default_rng(0)
    market = random.normal(0, 0.01, BARS)
    runs = []
    for arm in SETTINGS.arms:
        for steps in SETTINGS.steps:
            for seed in range(SETTINGS.seeds):
                returns = market + drift.get((arm, steps), 0.0) + random.normal(0, 0.001, BARS)
                key = f"{arm}-{steps}-{seed}"
                (root / key).mkdir()
                pd.DataFrame({"net_return": returns}).to_parquet(root / key / "returns.parquet")
                run = ArmRun(
                    arm=arm,
                    steps=steps,
                    market="m",
                    seed=seed,
                    sharpe=annual_sharpe(returns, PER_YEAR),
                    turnover_per_day=0.1 * seed,
                    max_drawdown=0.1 * seed,
                    bars=BARS,
                    parameters=10,
                    job_key=key,
                )
                runs.append(run)
    comparison = Comparison(
        label="invented", settings=SETTINGS, encoder_r2={"m": 0.6}, bars_per_year=PER_YEAR, runs=tuple(runs)
    )
    return sample_efficiency(comparison, root=root, seed=1, resamples=299)


def test_points_say_what_their_runs_say(tmp_path):
    result = judged(tmp_path, {})
    assert [(point.arm, point.steps) for point in result.points] == [
        (arm, steps) for arm in SETTINGS.arms for steps in SETTINGS.steps
    ]
    point = result.point("mlp", 400)
    assert point.mean == pytest.approx(np.mean(point.sharpes))
    assert point.over_seeds == mean_interval(point.sharpes)
    assert point.max_drawdown == pytest.approx(0.3)
    assert (result.markets, result.seeds, result.bars) == (1, 4, BARS)


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        ({("mlp", 400): 0.001, ("ft_pretrained", 100): 0.003}, "holds here"),
        ({("mlp", 400): 0.001, ("ft_pretrained", 100): -0.002}, "is refuted here"),
        ({("mlp", 400): 0.001, ("ft_pretrained", 100): 0.001}, "neither shown nor refuted"),
        ({("mlp", 400): -0.001, ("ft_pretrained", 100): 0.001}, '"the MLP needs 400 steps" is not so here'),
    ],
)
def test_the_claim_follows_from_its_own_difference(tmp_path, drift, said):
    result = judged(tmp_path, drift)
    assert said in result.claim
    first = result.differences[0]
    assert first.name == "ft_pretrained at 100 less mlp at 400"
    assert first.sentence in result.claim
    assert (result.differences[1].sentence in result.claim) is ("not so" in said)
    assert np.sign(first.mean) == np.sign(first.side_by_side)


def test_agents_that_never_trade_are_not_tested_and_that_is_said(tmp_path):
    result = judged(tmp_path, {})
    flat = result.differences[0]
    assert flat.over_time is not None
    other = tmp_path / "flat"
    other.mkdir()
    for path in tmp_path.glob("mlp-400-*/returns.parquet"):
        pd.DataFrame({"net_return": np.zeros(BARS)}).to_parquet(path)
    runs = tuple(
        ArmRun(
            arm=arm,
            steps=steps,
            market="m",
            seed=seed,
            sharpe=0.0,
            turnover_per_day=0,
            max_drawdown=0,
            bars=BARS,
            parameters=1,
            job_key=f"{arm}-{steps}-{seed}",
        )
        for arm in SETTINGS.arms
        for steps in SETTINGS.steps
        for seed in range(SETTINGS.seeds)
    )
    comparison = Comparison(label="invented", settings=SETTINGS, encoder_r2={}, bars_per_year=PER_YEAR, runs=runs)
    first = sample_efficiency(comparison, root=tmp_path, seed=1, resamples=99).differences[0]
    assert first.over_time is None
    assert first.side_by_side is None
    assert "never trades" in first.sentence


def test_an_interval_of_a_mean_needs_two_values_and_covers_as_often_as_it_says():
    assert mean_interval([1.0]) is None
    random = np.random.default_rng(0)
    samples = random.normal(2.0, 3.0, (4000, 5))
    covered = [low <= 2.0 <= high for low, high in (mean_interval(sample) for sample in samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)
