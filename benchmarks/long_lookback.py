"""Pre-training at lookback 60 in 5,888 scalar tokens (the book's eight among them): optimiser steps within 4 GB."""

import argparse
import json
import resource
import sys
import time

import torch

from cappuccino_ml.core import DataError
from cappuccino_ml.encoder import BALANCED, Epoch, PretrainingSettings, pretrain
from cappuccino_ml.encoder.split import split_by_time

TARGET_GB = 4.0
LOOKBACK, BATCH, VALIDATION = 60, 16, 0.05


def bars_for(steps: int) -> int:
    """The shortest span with so many whole batches of training windows."""
    bars = LOOKBACK + BATCH * steps
    while True:
        bars += 1
        try:
            split = split_by_time(bars, lookback=LOOKBACK, batch_size=BATCH, share=VALIDATION, most=BATCH)
        except DataError:
            continue
        if len(split.training) // BATCH == steps:
            return bars


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    encoder = BALANCED.model_copy(update={"lookback": LOOKBACK, "tokenization": "scalar", "fusion": "joint"})
    settings = PretrainingSettings(
        batch_size=BATCH, micro_batch=4, epochs=1, validation_share=VALIDATION, validation_windows=BATCH
    )
    market = torch.randn(bars_for(steps), 7, 14, generator=torch.Generator().manual_seed(0))
    history: list[Epoch] = []
    began = time.process_time()
    result = pretrain(
        market=market,
        first=0,
        last=len(market) - 1,
        encoder=encoder,
        settings=settings,
        seed=0,
        on_epoch=history.append,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    tokenizer = result.encoder.tokenizer
    tokens = tokenizer.market_tokens + tokenizer.entries
    print(f"balanced, {tokens} scalar tokens, batch {BATCH} in parts of {settings.at_once}, {steps} optimiser steps")
    print(f"{'':24}{'measured':>12}{'target':>12}")
    print(f"{'peak memory, GB':24}{peak:>12.2f}{'<= ' + format(TARGET_GB, '.0f'):>12}")
    print(f"{'CPU time, s':24}{time.process_time() - began:>12.0f}")
    print(f"{'training loss':24}{history[0].train_loss:>12.3f}{'finite':>12}")
    print(json.dumps({"tokens": tokens, "steps": steps, "peak_gb": round(peak, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
