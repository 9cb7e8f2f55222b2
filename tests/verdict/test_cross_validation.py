"""Two levels of luck, seeds and stretches of market: the fast bootstrap is the plain loop, and arch agrees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arch.bootstrap import CircularBlockBootstrap

from cappuccino_ml.policy import Arm
from cappuccino_ml.study import CrossPaths, CrossValidation
from cappuccino_ml.verdict import CrossValidationReport, cross_validation_report, resampled_means

PER_YEAR = 8760.0


def returns(seeds: int, bars: int, paths: int, *, drift: float = 0.0, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    market = random.normal(0, 0.004, (1, bars, 1))
    return market + random.normal(drift, 0.002, (seeds, bars, paths))


def validation(obstacles: tuple[str, ...] = (), **sides: np.ndarray) -> CrossValidation:
    arms: dict[str, Arm] = {"ft": "ft_scratch", "mlp": "mlp"}
    finalists = {
        side: CrossPaths(trial=number, arm=arms[side], returns=values, folder=Path(side))
        for number, (side, values) in enumerate(sides.items())
    }
    return CrossValidation(((0, 10),), finalists, obstacles)


def judged(found: CrossValidation, **changes: Any) -> CrossValidationReport:
    values = {"equal_weight": None, "bars_per_year": PER_YEAR, "seed": 1, "resamples": 499, **changes}
    return cross_validation_report(found, **values)


@pytest.mark.parametrize(("seeds", "bars", "paths", "block"), [(3, 250, 2, 24), (1, 241, 5, 7), (2, 96, 1, 96)])
def test_the_fast_form_is_the_plain_loop(seeds: int, bars: int, paths: int, block: int) -> None:
    sides = {"ft": returns(seeds, bars, paths), "mlp": returns(seeds, bars, paths, seed=1)}
    fast = resampled_means(sides, block=block, seed=5, resamples=40)
    random = np.random.default_rng(5)
    starts = random.integers(0, bars, size=(40, bars // block))
    chosen = random.integers(0, seeds, size=(40, seeds))
    for side, values in sides.items():
        for r in range(40):
            rows = [(start + step) % bars for start in starts[r] for step in range(block)]
            total = 0.0
            for s in chosen[r]:
                for p in range(paths):
                    sample = values[s, rows, p]
                    total += sample.mean() / sample.std()
            assert fast[side][r] == pytest.approx(total / (seeds * paths), rel=1e-9)


def test_with_one_seed_and_path_the_spread_is_archs_circular_block_bootstraps() -> None:
    values = returns(1, 2000, 1, drift=3e-4)
    ours = resampled_means({"ft": values}, block=40, seed=2, resamples=3000)["ft"]
    bootstrap = CircularBlockBootstrap(40, values[0, :, 0], seed=3)
    theirs = bootstrap.apply(lambda sample: sample.mean() / sample.std(), 3000)[:, 0]
    assert ours.std() == pytest.approx(theirs.std(), rel=0.06)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.1 * theirs.std())


def test_luck_of_training_widens_the_interval_that_one_seed_would_hide() -> None:
    lucky = returns(3, 3000, 2)
    lucky += np.array([-1e-3, 0.0, 1e-3])[:, None, None]
    (three,) = judged(validation(mlp=lucky)).finalists
    (one,) = judged(validation(mlp=lucky[1:2])).finalists
    assert three.interval is not None
    assert one.interval is not None
    assert three.interval[1] - three.interval[0] > 1.5 * (one.interval[1] - one.interval[0])
    assert three.mean == pytest.approx(np.mean(three.sharpes))


def test_a_difference_is_paired_so_the_market_that_both_share_cancels() -> None:
    ft, mlp = returns(2, 4000, 3, drift=2e-4), returns(2, 4000, 3)
    report = judged(validation(ft=ft, mlp=mlp), equal_weight=np.full(4000, 1e-4) + ft[0, :, 0])
    assert report.difference_interval is not None
    low, high = report.difference_interval
    interval = report.finalists[0].interval
    assert interval is not None
    assert high - low < 0.8 * (interval[1] - interval[0])
    assert low < report.difference < high  # type: ignore[operator]
    assert report.equal_weight is not None
    assert report.sentence.startswith("FT is better than MLP over the paths")
    assert judged(validation(ft=mlp, mlp=ft)).sentence.startswith("FT is worse than MLP")


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Twenty seeds, so that the luck of drawing few of them does not matter; true Sharpe 3 a year."""
    true = 3.0
    covered = 0
    for replication in range(60):
        random = np.random.default_rng(1000 + replication)
        market = random.normal(true * 0.01 / np.sqrt(PER_YEAR), 0.01, (1, 1500, 1))
        values = np.repeat(market, 20, axis=0)
        (finalist,) = judged(validation(mlp=values), resamples=199, seed=replication).finalists
        assert finalist.interval is not None
        covered += finalist.interval[0] < true < finalist.interval[1]
    assert 52 <= covered <= 60


def test_what_cannot_be_said_is_said() -> None:
    none = judged(validation(("left out at this budget",)))
    assert (none.finalists, none.difference) == ((), None)
    assert "left out at this budget" in none.sentence
    short = judged(validation(mlp=returns(1, 100, 2)))
    assert short.finalists[0].interval is None
    assert "100 bars are fewer than 240" in short.obstacles[0]
    flat = judged(validation(ft=np.zeros((1, 500, 2)), mlp=returns(1, 500, 2)))
    assert flat.difference_interval is None
    assert flat.obstacles == ("ft never trades on any path",)


def test_sides_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="all sides need the same"):
        resampled_means({"ft": returns(1, 300, 2), "mlp": returns(2, 300, 2)}, block=24, seed=1, resamples=9)
