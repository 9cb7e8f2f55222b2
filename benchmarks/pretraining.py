"""Masked R2 of every tokenization at equal CPU time on the simulated market, beside three baselines, by feature."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime

import pandas as pd
import torch

from benchmarks.encoder import PRESETS
from cappuccino_ml.bars import SimulatedSource, Universe, align
from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings, Tokenization, pretrain
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel, masked_losses
from cappuccino_ml.features import WARM_UP_BARS, MarketTable, Scaler

# Learning rates by tokenization: each the best of 2e-3, 3e-3, 5e-3 and 1e-2 in shorter runs.
TOKENIZATIONS: dict[Tokenization, float] = {"ticker": 3e-3, "series": 2e-3, "scalar": 2e-3}
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
WORST_GAP = 0.02  # no feature may be further behind the ridge


def simulated_market(*, seed: int) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Scaled features [T, N, F] after the warm-up, and the features' names."""
    universe, source = Universe(), SimulatedSource(seed=seed)
    parts = [
        source.fetch(symbol=symbol, universe=universe, start=START, end=END).assign(symbol=symbol)
        for symbol in universe.symbols
    ]
    table = MarketTable.from_panel(align(pd.concat(parts), universe))
    scaler = Scaler.fit(table.features, slice(WARM_UP_BARS, None), schema=table.schema)
    return torch.from_numpy(table.scaled(scaler))[WARM_UP_BARS:], table.schema.features


def epochs_within(market: torch.Tensor, encoder: EncoderSettings, settings: PretrainingSettings, seconds: float) -> int:
    """How many epochs fit into so much CPU time, from the time of three steps; 0 if not even one."""
    torch.manual_seed(0)
    model = MaskedFeatureModel(encoder, tickers=market.shape[1], features=market.shape[2])
    batch = torch.randn(settings.batch_size, encoder.lookback, *market.shape[1:])
    mask = torch.rand(batch.shape) < settings.mask_share
    losses = masked_losses(model, batch, mask)  # the first pass warms up
    began = time.process_time()
    for _ in range(3):
        losses = masked_losses(model, batch, mask)
        (losses[0] + losses[1]).backward()
    step = (time.process_time() - began) / 3
    training = len(market) * (1 - settings.validation_share) - WARM_UP_BARS
    return int(seconds / (1.3 * step * training / settings.batch_size))  # validation and optimizer are the 0.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU time of each pre-training")
    parser.add_argument("--preset", choices=PRESETS, default="balanced")
    parser.add_argument("--lookback", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    market, names = simulated_market(seed=arguments.seed)
    result: dict[str, float] = {}
    for tokenization, learning_rate in TOKENIZATIONS.items():
        encoder = PRESETS[arguments.preset].model_copy(
            update={"tokenization": tokenization, "lookback": arguments.lookback}
        )
        settings = PretrainingSettings(batch_size=64, learning_rate=learning_rate, patience=100)
        epochs = epochs_within(market, encoder, settings, arguments.seconds)
        if epochs < 1:
            print(f"\n{tokenization}: not one epoch in {arguments.seconds:.0f} s of CPU time", flush=True)
            continue
        settings = settings.model_copy(update={"epochs": epochs})
        began = time.process_time()
        skill = pretrain(
            market=market, first=0, last=len(market) - 1, encoder=encoder, settings=settings, seed=arguments.seed
        ).skill
        seconds = time.process_time() - began
        print(
            f"\n{arguments.preset}, {tokenization}, lookback {arguments.lookback}: {epochs} epochs, {seconds:.0f} s CPU"
        )
        print(f"{'masked R2':24}" + "".join(f"{method:>10}" for method in skill.r2))
        print(f"{'mean over features':24}" + "".join(f"{r2:>10.3f}" for r2 in skill.r2.values()))
        for index, name in enumerate(names):
            values = {method: r2[index] for method, r2 in skill.r2_by_feature.items()}
            behind = (values["ridge"] or 0.0) - (values["model"] or 0.0)
            note = f"   {behind:.3f} behind the ridge" if behind > WORST_GAP else ""
            print(f"{name:24}" + "".join(f"{value or 0.0:>10.3f}" for value in values.values()) + note, flush=True)
        result |= {
            f"r2_{tokenization}": round(skill.r2["model"], 4),
            f"r2_{tokenization}_encoding": round(skill.r2["encoding"], 4),
            "r2_ridge": round(skill.r2["ridge"], 4),
        }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
