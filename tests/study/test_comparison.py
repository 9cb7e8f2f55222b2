"""The comparison of arms: equal settings, seeds and rows for all, results that are found again, pairs that match."""

from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.environment import Layout
from cappuccino_ml.study import (
    Comparison,
    ComparisonSettings,
    comparison_jobs,
    load_dataset,
    read_returns,
    run_comparison,
    side_by_side,
)

SETTINGS = ComparisonSettings(
    steps=(256, 512), seeds=2, net_dimension=16, layout=Layout(timestamps=4, environments=4, steps=16, episode_bars=32)
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture
def jobs(lab, root: Path):
    fold = lab.dataset.splits.folds[-1]
    return comparison_jobs(lab.dataset, SETTINGS, encoder=lab.encoders["fold-1"], fold=fold, root=root)


@pytest.fixture
def run(lab, jobs):
    def run_it(said: list[str], workers: int = 1) -> Comparison:
        return run_comparison(
            [jobs],
            SETTINGS,
            label="simulated",
            encoder_r2={lab.dataset.key: 0.5},
            bars_per_year=8760.0,
            workers=workers,
            say=said.append,
        )

    return run_it


def test_arms_differ_in_nothing_but_the_arm(jobs):
    assert len(jobs) == 3 * 2 * 2
    for (arm, steps, seed), job in jobs.items():
        twin = jobs["mlp", steps, seed]
        assert (job.seed, job.train_rows, job.test_rows) == (twin.seed, twin.train_rows, twin.test_rows)
        assert job.training.ppo == twin.training.ppo
        assert job.training.ppo.steps == steps
        assert job.training.layout == SETTINGS.layout
        assert job.training.agent.lookback == twin.training.agent.lookback
        assert (job.encoder_folder is not None) is (arm == "ft_pretrained")
    assert len({job.seed for job in jobs.values()}) == 2


def test_no_row_of_the_holdout_is_touched_and_a_gap_is_kept(lab, jobs):
    splits = load_dataset(lab.dataset.folder).splits
    for job in jobs.values():
        assert job.test_rows[0] - job.train_rows[1] >= splits.gap
        assert job.test_rows[1] <= splits.development[1] < splits.holdout[0]


def test_runs_come_in_one_order_and_are_not_done_twice(run, jobs, root):
    said: list[str] = []
    first = run(said)
    assert len(said) == len(first.runs) == 12
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    again = run([])
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == stamps
    for arm in SETTINGS.arms:
        for steps in SETTINGS.steps:
            assert [one.seed for one in first.of(arm, steps)] == [0, 1]
            assert all(one.job_key == jobs[arm, steps, one.seed].key for one in first.of(arm, steps))


def test_side_by_side_is_the_mean_over_seeds(run, root):
    comparison = run([])
    together = side_by_side(comparison, "mlp", 512, root=root)
    alone = [read_returns(root / one.job_key) for one in comparison.of("mlp", 512)]
    np.testing.assert_allclose(together, (alone[0] + alone[1]) / 2)
