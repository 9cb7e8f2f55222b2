"""Baselines see the same masked input as the model and equal their definitions written as plain loops."""

import math

import pytest
import torch
from torch import Tensor

from cappuccino_ml.core import CappuccinoError
from cappuccino_ml.encoder import sample_masks, windows
from cappuccino_ml.encoder.skill import carry_forward, fit_ridge, measure_skill, predict_mean

from .conftest import FEATURES, TICKERS

LOOKBACK = 5


def masked(market: Tensor, rows: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = sample_masks(
        rows=len(rows), lookback=LOOKBACK, tickers=TICKERS, features=FEATURES, share=0.15, generator=generator
    )
    return windows(market, rows, LOOKBACK), mask


def test_carry_forward_equals_a_plain_loop(market: Tensor):
    batch, _ = masked(market, torch.arange(10, 70), seed=0)
    mask = torch.rand(batch.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    mean = torch.randn(TICKERS, FEATURES, generator=torch.Generator().manual_seed(2))
    carried = carry_forward(mean)(torch.where(mask, 0.0, batch), mask)
    kinds = set()
    for b, lag, n, f in mask.nonzero().tolist():
        visible = [k for k in range(LOOKBACK) if not mask[b, k, n, f]]
        earlier = [k for k in visible if k < lag]
        if earlier:
            expected, kind = batch[b, earlier[-1], n, f], "earlier"
        elif visible:
            expected, kind = batch[b, visible[0], n, f], "later"
        else:
            expected, kind = mean[n, f], "mean"
        kinds.add(kind)
        assert carried[b, lag, n, f] == expected
    assert kinds == {"earlier", "later", "mean"}


def test_ridge_equals_a_fit_of_each_entry_on_all_the_others(market: Tensor):
    batch, mask = masked(market, torch.arange(10, 330), seed=0)
    predict = fit_ridge(windows=batch, mask=mask)
    seen = torch.where(mask, 0.0, batch)
    found = predict(seen, mask).flatten(1).double()
    inputs = torch.cat([seen.flatten(1), mask.flatten(1).float()], 1).double()
    targets, split = batch.flatten(1).double(), 256
    center, level = inputs[:split].mean(0), targets[:split].mean(0)
    x, y = inputs[:split] - center, targets[:split] - level
    for entry in (0, 17, 59):
        others = torch.arange(inputs.shape[1]) != entry
        fits = []
        for penalty in (0.003, 0.03, 0.3):
            loaded = x[:, others].T @ x[:, others] + penalty * split * torch.eye(int(others.sum()), dtype=torch.float64)
            weights = torch.linalg.solve(loaded, x[:, others].T @ y[:, entry])
            fits.append((inputs - center)[:, others] @ weights + level[entry])
        assert min(float((found[:, entry] - fit).abs().max()) for fit in fits) < 2e-3


def test_ridge_is_better_than_the_mean_on_series_that_tell_each_other(market: Tensor):
    past, past_mask = masked(market, torch.arange(10, 240), seed=0)
    later, mask = masked(market, torch.arange(260, 330), seed=1)
    mean = market[:241].mean(0)
    skill = measure_skill(
        windows=later,
        mask=mask,
        predictors={"mean": predict_mean(mean), "ridge": fit_ridge(windows=past, mask=past_mask)},
    )
    assert skill.r2["ridge"] > 0.5 > 0.1 > skill.r2["mean"]


def test_r2_equals_its_definition(market: Tensor):
    batch, mask = masked(market, torch.arange(10, 60), seed=0)
    mean = market.mean(0)
    skill = measure_skill(windows=batch, mask=mask, predictors={"mean": predict_mean(mean), "truth": lambda *_: batch})
    r2 = []
    for f in range(FEATURES):
        error = spread = 0.0
        for n in range(TICKERS):
            hidden = batch[:, :, n, f][mask[:, :, n, f]].double()
            error += float((hidden - float(mean[n, f])).square().sum())
            spread += float((hidden - hidden.mean()).square().sum())
        r2.append(1 - error / spread)
    assert skill.r2_by_feature["mean"] == pytest.approx(r2, abs=1e-5)
    assert skill.r2["mean"] == pytest.approx(sum(r2) / FEATURES, abs=1e-5)
    assert skill.r2["truth"] == 1.0
    assert (skill.rows, skill.hidden) == (50, int(mask.sum()))


def test_no_predictor_sees_a_hidden_value(market: Tensor):
    batch, mask = masked(market, torch.arange(10, 60), seed=0)

    def check(seen: Tensor, hidden: Tensor) -> Tensor:
        assert (seen[hidden] == 0).all()
        return seen

    measure_skill(windows=batch, mask=mask, predictors={"check": check})


def test_a_feature_that_stands_still_has_no_r2(market: Tensor):
    batch, mask = masked(market, torch.arange(10, 60), seed=0)
    batch = batch.clone()
    batch[..., 2] = 0.5
    skill = measure_skill(windows=batch, mask=mask, predictors={"zero": predict_mean(torch.zeros(TICKERS, FEATURES))})
    assert skill.r2_by_feature["zero"][2] is None
    assert math.isfinite(skill.r2["zero"])
    with pytest.raises(CappuccinoError, match="ever moves"):
        measure_skill(windows=torch.zeros_like(batch), mask=mask, predictors={})
