"""A short soak in every run of the suite; `make soak` runs the long one."""

from pathlib import Path

import pytest

from .soak import is_clean, soak


@pytest.mark.parametrize("seed", [1, 2])
def test_p1_p2_p3_random_faults_and_kills_double_nothing_and_lose_nothing(tmp_path: Path, seed: int):
    found = soak(bars=250, seed=seed, folder=tmp_path, kills=30)
    assert is_clean(found), found
    assert found["kills"] > 10
    assert found["orders_at_broker"] > 100
