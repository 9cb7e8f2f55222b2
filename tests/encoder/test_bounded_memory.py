"""Lookback 60 in scalar tokens, 5,888 of them with the book's, is pre-trained within 4 GB, measured from outside."""

import json
import subprocess
import sys

import pytest

LIMIT_GB = 4.0
STEPS, BATCH = 20, 16
CHILD = f"""
import json, resource, time, torch
from cappuccino_ml.encoder import BALANCED, PretrainingSettings, pretrain

encoder = BALANCED.model_copy(update={{"lookback": 60, "tokenization": "scalar", "fusion": "joint"}})
settings = PretrainingSettings(
    batch_size={BATCH}, micro_batch=4, epochs=1, validation_share=0.05, validation_windows={BATCH}
)
bars = 510  # {STEPS} whole batches of windows, the gap and the validation windows
market = torch.randn(bars, 7, 14, generator=torch.Generator().manual_seed(0))
began = time.monotonic()
result = pretrain(market=market, first=0, last=bars - 1, encoder=encoder, settings=settings, seed=0)
tokenizer = result.encoder.tokenizer
print(json.dumps({{
    "tokens": tokenizer.market_tokens + tokenizer.entries,
    "loss": result.history[0].train_loss,
    "seconds": time.monotonic() - began,
    "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
}}))
"""


def steps_of(bars: int, *, lookback: int, share: float) -> int:
    from cappuccino_ml.encoder.split import split_by_time

    split = split_by_time(bars, lookback=lookback, batch_size=BATCH, share=share, most=BATCH)
    return len(split.training) // BATCH


def test_the_child_takes_twenty_steps():
    assert steps_of(510, lookback=60, share=0.05) == STEPS


@pytest.mark.slow
def test_5888_scalar_tokens_at_batch_16_stay_within_4_gb():
    child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(child.stdout.splitlines()[-1])
    assert found["tokens"] == 5888
    assert found["peak_gb"] < LIMIT_GB, found
