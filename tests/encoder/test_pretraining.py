"""Pre-training sees its own rows only, learns, repeats to the byte, and says where it went wrong."""

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from cappuccino_ml.core import CappuccinoError, DataError
from cappuccino_ml.encoder import EncoderSettings, Epoch, Pretrained, PretrainingSettings, pretrain, windows
from cappuccino_ml.encoder.epochs import parameter_groups, rate
from cappuccino_ml.encoder.masked_model import MaskedFeatureModel, masked_losses
from cappuccino_ml.encoder.skill import measure_skill
from cappuccino_ml.encoder.split import split_by_time

from .conftest import FEATURES, FIRST, LAST, QUICK, TICKERS, TINY, make_market


def run(market: Tensor, **changes: object) -> Pretrained:
    arguments = {"first": FIRST, "last": LAST, "encoder": TINY, "settings": QUICK, "seed": 3} | changes
    return pretrain(market=market, **arguments)  # type: ignore[arg-type]


def all_bytes(result: Pretrained) -> list[bytes]:
    states = [result.encoder.state_dict(), result.final, *result.checkpoints.values()]
    facts = [*result.history, result.skill]
    return [save(state) for state in states] + [fact.model_dump_json().encode() for fact in facts]


def test_two_runs_give_the_same_bytes(market: Tensor, pretrained: Pretrained):
    torch.manual_seed(99)  # the global generator must not matter ...
    before = torch.get_rng_state()
    assert all_bytes(run(market)) == all_bytes(pretrained)
    assert torch.equal(torch.get_rng_state(), before)  # ... and is left as it was


def test_another_seed_gives_another_encoder(market: Tensor, pretrained: Pretrained):
    assert all_bytes(run(market, seed=4))[0] != all_bytes(pretrained)[0]


def test_defect_10_no_row_outside_the_fold_shapes_an_encoder(market: Tensor, pretrained: Pretrained):
    poisoned = torch.full_like(market, float("nan"))
    poisoned[FIRST : LAST + 1] = market[FIRST : LAST + 1]
    assert all_bytes(run(poisoned)) == all_bytes(pretrained)
    for inside in (FIRST, LAST):
        touched = market.clone()
        touched[inside] += 1.0
        assert all_bytes(run(touched)) != all_bytes(pretrained)


def test_validation_windows_share_no_bar_with_training_windows():
    split = split_by_time(10_000, lookback=10, batch_size=128, share=0.15, most=2048)
    oldest_validation_bar = int(split.validation[0]) - 9
    assert split.gap == 310
    assert oldest_validation_bar - int(split.training[-1]) > 300
    assert int(split.training[0]) == 9
    assert int(split.validation[-1]) == 9_999


def test_a_long_span_is_validated_on_evenly_spaced_windows():
    split = split_by_time(100_000, lookback=10, batch_size=128, share=0.15, most=2048)
    assert len(split.validation) == 2048
    assert set(split.validation.diff().tolist()) <= {7, 8}
    assert int(split.validation[-1]) == 99_999


def test_a_short_span_has_a_smaller_gap_that_still_clears_the_lookback():
    split = split_by_time(400, lookback=10, batch_size=64, share=0.15, most=2048)
    assert split.gap == 10 + 39
    assert int(split.validation[0]) - 9 > int(split.training[-1])


def test_a_span_shorter_than_one_batch_is_refused(market: Tensor):
    with pytest.raises(DataError, match="fewer than one batch of 128"):
        run(market, last=FIRST + 120, settings=PretrainingSettings())


@pytest.mark.parametrize(("first", "last"), [(-1, 100), (0, 340), (200, 100)])
def test_rows_outside_the_market_are_refused(market: Tensor, first: int, last: int):
    with pytest.raises(DataError, match="not within the 340 rows"):
        run(market, first=first, last=last)


def test_a_value_that_is_not_finite_is_named(market: Tensor):
    bad = market.clone()
    bad[50, 1, 2] = float("nan")
    with pytest.raises(DataError, match="feature 2 of ticker 1 is nan in row 50"):
        run(bad)


def test_a_loss_that_is_not_finite_names_epoch_and_batch(market: Tensor):
    with pytest.raises(CappuccinoError, match=r"in epoch 1, batch [2-9];"):
        run(market, settings=QUICK.model_copy(update={"learning_rate": 1e30}))


def test_sixty_four_windows_can_be_learnt_by_heart():
    encoder = EncoderSettings(lookback=4, d_token=32, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=64)
    torch.manual_seed(0)
    model = MaskedFeatureModel(encoder, tickers=TICKERS, features=FEATURES)
    batch = windows(make_market(), torch.arange(10, 330, 5), 4)
    mask = torch.rand(batch.shape) < 0.15
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = sum(masked_losses(model, batch, mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        decoders = {"tokens": lambda *seen: model(*seen)[0], "encoding": lambda *seen: model(*seen)[1]}
        skill = measure_skill(windows=batch, mask=mask, predictors=decoders)
    assert skill.r2["tokens"] > 0.8
    assert skill.r2["encoding"] > 0.8


def test_what_is_learnt_holds_on_later_bars():
    settings = PretrainingSettings(batch_size=64, epochs=8, learning_rate=1e-2)
    skill = run(make_market(rows=1000), last=999, settings=settings).skill
    assert skill.r2["model"] > 0.3 > 0.1 > skill.r2["mean"]
    assert set(skill.r2) == {"model", "encoding", "mean", "carry", "ridge"}
    assert all(len(r2) == FEATURES for r2 in skill.r2_by_feature.values())


def test_both_losses_together_train_every_weight_of_the_encoder(market: Tensor):
    torch.manual_seed(0)
    model = MaskedFeatureModel(TINY, tickers=TICKERS, features=FEATURES)
    batch = windows(market, torch.arange(10, 42), TINY.lookback)
    mask = torch.rand(batch.shape) < 0.15
    on_tokens, on_encoding = masked_losses(model, batch, mask)
    on_tokens.backward(retain_graph=True)
    assert model.encoder.head.weight.grad is None  # why the encoding has a decoder of its own
    on_encoding.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name


def test_only_hidden_entries_count_and_every_feature_counts_the_same(market: Tensor):
    torch.manual_seed(0)
    model = MaskedFeatureModel(TINY, tickers=TICKERS, features=FEATURES).eval()
    batch = windows(market, torch.arange(10, 42), TINY.lookback)
    mask = torch.rand(batch.shape) < 0.15
    mask[:, :, 1:, 3] = False  # feature 3 is seldom hidden
    estimates = model(batch, mask)
    for loss, estimate in zip(masked_losses(model, batch, mask), estimates, strict=True):
        squares = (estimate - batch).square()
        plain = torch.stack([squares[..., f][mask[..., f]].mean() for f in range(FEATURES)]).mean()
        torch.testing.assert_close(loss, plain)


def test_biases_norms_and_the_tokenizer_do_not_decay():
    model = MaskedFeatureModel(TINY, tickers=TICKERS, features=FEATURES)
    decaying, free = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept = {names[id(parameter)] for parameter in free["params"]}  # type: ignore[attr-defined]
    assert {"encoder.tokenizer.cls", "encoder.tokenizer.weight", "encoder.norm.weight", "token_bias"} <= kept
    assert "encoder.blocks.1.attention.out.bias" in kept
    decayed = {names[id(parameter)] for parameter in decaying["params"]}  # type: ignore[attr-defined]
    assert {"encoder.head.weight", "encoder.blocks.0.ffn_in.weight", "token_weight"} <= decayed
    assert kept | decayed == set(names.values())
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_the_best_epoch_is_returned_and_the_last_one_kept(market: Tensor):
    seen: list[Epoch] = []
    # Noise can only be learnt by heart, so that later epochs are worse.
    noise = torch.randn(market.shape, generator=torch.Generator().manual_seed(0))
    settings = PretrainingSettings(batch_size=32, epochs=30, learning_rate=0.02, patience=2, checkpoint_every=1)
    result = run(noise, settings=settings, on_epoch=seen.append)
    assert seen == result.history
    losses = [epoch.validation_loss for epoch in result.history]
    assert result.best_epoch == 1 + losses.index(min(losses))
    assert len(losses) == result.best_epoch + 2 < 30  # stopped early
    assert save(result.encoder.state_dict()) == save(result.checkpoints[result.best_epoch])
    assert save(result.final) == save(result.checkpoints[len(losses)])
    assert not result.encoder.training


def test_the_rate_rises_to_its_peak_and_follows_a_cosine_to_zero(pretrained: Pretrained):
    rates = [rate(step, total=100, warm_up=0.1) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert (max(rates), rates[54], rates[-1]) == (1.0, pytest.approx(0.5), 0.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rate(50, total=100, warm_up=0.0) == pytest.approx(0.5)
    assert pretrained.history[-1].learning_rate == 0.0
