"""What is said about variants follows from their runs, on invented returns whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.metrics import annual_sharpe, mean_interval
from cappuccino_ml.study import Variant, VariantRun
from cappuccino_ml.verdict import VariantScore, judge_variants

BARS, PER_YEAR, SEEDS = 3000, 8760.0, 4
VARIANTS = (
    Variant(name="default", factor="none"),
    Variant(name="other", factor="tokenization", against=("default",)),
    Variant(name="idle", factor="freezing", against=("default", "other")),
)


@pytest.fixture
def scores(tmp_path: Path) -> dict[str, VariantScore]:
    random = np.random.default_rng(0)
    market, runs = random.normal(0, 0.01, BARS), []
    for variant, drift in (("default", 0.0), ("other", 0.002), ("idle", None)):
        for seed in range(SEEDS):
            returns = np.zeros(BARS) if drift is None else market + drift + random.normal(0, 0.001, BARS)
            key = f"{variant}-{seed}"
            (tmp_path / key).mkdir()
            pd.DataFrame({"net_return": returns}).to_parquet(tmp_path / key / "returns.parquet")
            runs.append(
                VariantRun(
                    variant=variant,
                    seed=seed,
                    sharpe=annual_sharpe(returns, PER_YEAR),
                    turnover_per_day=0.1 * seed,
                    max_drawdown=0.1 * seed,
                    bars=BARS,
                    parameters=10,
                    wall_s=None if seed == 0 else float(seed),
                    job_key=key,
                )
            )
    judged = judge_variants(
        VARIANTS, runs, root=tmp_path, bars_per_year=PER_YEAR, seed=1, masked_r2={"default": 0.7}, resamples=299
    )
    return {score.name: score for score in judged}


def test_scores_say_what_their_runs_say(scores):
    other = scores["other"]
    assert list(scores) == ["default", "other", "idle"]
    assert other.mean == pytest.approx(np.mean(other.sharpes))
    assert other.over_seeds == mean_interval(other.sharpes)
    assert (other.max_drawdown, other.wall_s) == (pytest.approx(0.3), 2.0), "an interrupted run has no time"
    assert (scores["default"].masked_r2, other.masked_r2) == (0.7, None)
    assert scores["default"].against == {}


def test_a_real_difference_is_outside_both_intervals(scores):
    found = scores["other"].against["default"]
    by_seed = np.subtract(scores["other"].sharpes, scores["default"].sharpes)
    assert found.mean == pytest.approx(by_seed.mean())
    assert found.over_seeds[0] > 0
    assert found.over_time[0] > 0
    assert found.name == "other less default"


def test_policies_that_never_trade_are_not_tested_and_that_is_said(scores):
    against = scores["idle"].against
    assert list(against) == ["default", "other"]
    assert all(found.over_time is None and "never trades" in found.sentence for found in against.values())
