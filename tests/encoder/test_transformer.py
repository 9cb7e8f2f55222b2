"""The encoder beside plain loops, its symmetries, and what it must not see."""

import pytest
import torch
from torch import Tensor

from cappuccino_ml.encoder import EncoderSettings, windows
from cappuccino_ml.encoder.attention import MultiheadAttention

from .conftest import FEATURES, TICKERS, TINY, make_encoder, make_market

SHAPE = (6, TINY.lookback, TICKERS, FEATURES)


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask() -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)) < 0.3


def test_windows_equal_a_plain_loop(market: Tensor):
    rows = torch.tensor([4, 9, 4, 339])
    plain = torch.stack([market[row - 4 : row + 1] for row in rows.tolist()])
    assert torch.equal(windows(market, rows, 5), plain)


def test_series_tokens_equal_a_plain_loop(batch: Tensor, mask: Tensor):
    tokenizer = make_encoder().tokenizer
    tokens = tokenizer(batch, mask)
    for b in range(len(batch)):
        torch.testing.assert_close(tokens[b, 0], tokenizer.cls)
        for n in range(TICKERS):
            for f in range(FEATURES):
                series = n * FEATURES + f
                token = tokenizer.bias[series].clone()
                for lag in range(TINY.lookback):
                    if mask[b, lag, n, f]:
                        token = token + tokenizer.mask_token[series, lag]
                    else:
                        token = token + batch[b, lag, n, f] * tokenizer.weight[series, lag]
                torch.testing.assert_close(tokens[b, 1 + series], token, atol=1e-5, rtol=1e-5)


def test_attention_weights_sum_to_one_and_give_the_fused_result():
    attention = MultiheadAttention(d_token=16, n_heads=4)
    tokens = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    weights = attention.weights(tokens, tokens)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 7))
    value = attention.key_value(tokens)[..., 16:].view(2, 7, 4, 4).transpose(1, 2)
    plain = attention.out((weights @ value).transpose(1, 2).reshape(2, 7, 16))
    torch.testing.assert_close(attention(tokens, tokens), plain, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("n_blocks", [1, 2, 3])
def test_computing_the_cls_row_alone_is_exact(batch: Tensor, mask: Tensor, n_blocks: int):
    encoder = make_encoder(TINY.model_copy(update={"n_blocks": n_blocks}))
    whole = encoder.tokens(batch, mask)
    torch.testing.assert_close(encoder.tokens(batch, mask, rows=1), whole[:, :1], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(encoder(batch), encoder.encode_cls(encoder.tokens(batch)[:, 0]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("poison", [1e9, float("nan"), float("inf")])
def test_hidden_entries_never_reach_the_network(batch: Tensor, mask: Tensor, poison: float):
    encoder = make_encoder()
    poisoned = torch.where(mask, poison, batch)
    assert torch.equal(encoder.tokens(poisoned, mask), encoder.tokens(batch, mask))


def test_hidden_entries_get_no_gradient(batch: Tensor, mask: Tensor):
    batch.requires_grad_()
    make_encoder().tokens(batch, mask).square().sum().backward()
    assert batch.grad is not None
    assert (batch.grad[mask] == 0).all()
    assert (batch.grad[~mask] != 0).any()


def test_what_is_hidden_changes_the_tokens(batch: Tensor, mask: Tensor):
    encoder = make_encoder()
    assert not torch.equal(encoder.tokens(batch, mask), encoder.tokens(batch))


def test_windows_of_a_batch_do_not_touch_each_other(batch: Tensor):
    encoder = make_encoder()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(encoder(batch[order]), encoder(batch)[order], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(encoder(batch[:1]), encoder(batch)[:1], atol=1e-6, rtol=1e-6)


def test_tickers_permuted_with_their_parameters_leave_the_encoding_unchanged(batch: Tensor):
    encoder, permuted = make_encoder(), make_encoder()
    order = torch.tensor([2, 0, 1])
    for name in ("weight", "mask_token", "bias"):
        parameter = getattr(encoder.tokenizer, name)
        by_ticker = parameter.unflatten(0, (TICKERS, FEATURES))[order].flatten(0, 1)
        getattr(permuted.tokenizer, name).data.copy_(by_ticker)
    torch.testing.assert_close(permuted(batch[:, :, order]), encoder(batch), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(encoder(batch[:, :, order]), encoder(batch), atol=1e-3)


def test_dropout_is_off_in_eval_and_on_in_training(batch: Tensor):
    encoder = make_encoder()
    assert torch.equal(encoder(batch), encoder(batch))
    encoder.train()
    assert not torch.equal(encoder(batch), encoder(batch))


def test_another_shape_of_window_is_refused(batch: Tensor):
    with pytest.raises(ValueError, match="tokenizer was built"):
        make_encoder()(batch[:, 1:])


def test_long_windows_cost_few_tokens():
    encoder = make_encoder(
        EncoderSettings(tokenization="series", lookback=60, d_token=8, n_blocks=1, n_heads=2, encoding_dim=8)
    )
    long = windows(make_market(rows=64), torch.tensor([59, 63]), 60)
    assert encoder.tokens(long).shape == (2, 1 + TICKERS * FEATURES, 8)
