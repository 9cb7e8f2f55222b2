"""Lookback 60 in 5,888 scalar tokens is pre-trained within 4 GB, measured in a process of its own."""

import json
import subprocess
import sys

import pytest

from benchmarks.long_lookback import BATCH, LOOKBACK, TARGET_GB, VALIDATION, bars_for
from cappuccino_ml.encoder.split import split_by_time


@pytest.mark.parametrize("steps", [2, 20])
def test_the_benchmark_takes_the_steps_it_says(steps: int):
    split = split_by_time(bars_for(steps), lookback=LOOKBACK, batch_size=BATCH, share=VALIDATION, most=BATCH)
    assert len(split.training) // BATCH == steps


@pytest.mark.slow
def test_5888_scalar_tokens_at_batch_16_stay_within_4_gb():
    # Every step needs the same memory, so two are enough here; the benchmark takes twenty.
    command = [sys.executable, "-m", "benchmarks.long_lookback", "--steps", "2"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(child.stdout.splitlines()[-1])
    assert found["tokens"] == 5888
    assert found["peak_gb"] < TARGET_GB
