"""On the simulated market the default encoder fills in hidden entries better than mean, carry and ridge."""

import pytest
import torch

from benchmarks.pretraining import WORST_GAP, simulated_market
from cappuccino_ml.encoder import BALANCED, PretrainingSettings, pretrain


@pytest.mark.slow
def test_balanced_beats_every_baseline_and_is_behind_ridge_in_no_feature():
    market, names = simulated_market(seed=11)
    with torch.random.fork_rng(devices=[]):
        skill = pretrain(
            market=market,
            first=0,
            last=len(market) - 1,
            encoder=BALANCED,
            settings=PretrainingSettings(batch_size=64, epochs=12, learning_rate=3e-3),
            seed=11,
        ).skill
    assert skill.r2["model"] > skill.r2["ridge"] + 0.03
    assert skill.r2["model"] > max(skill.r2["mean"], skill.r2["carry"]) + 0.3
    pairs = zip(names, skill.r2_by_feature["model"], skill.r2_by_feature["ridge"], strict=True)
    assert [(name, own, ridge) for name, own, ridge in pairs if own < ridge - WORST_GAP] == []
