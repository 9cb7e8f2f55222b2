"""Scalar tokens equal the official package `rtdl_revisiting_models` given its weights, forward and gradients."""

import pytest
import torch
from torch import Tensor

from cappuccino_ml.encoder import EncoderSettings, FTTransformerEncoder

peer_module = pytest.importorskip("benchmarks.rtdl_peer", reason="rtdl_revisiting_models is a test extra")

TICKERS, FEATURES, BATCH = 3, 4, 5


def build(*, joint: bool, **shape: int) -> tuple[FTTransformerEncoder, Tensor, Tensor | None]:
    torch.manual_seed(0)
    settings = EncoderSettings(
        tokenization="scalar", fusion="joint" if joint else "late", dropout=0.0, encoding_dim=17, **shape
    )
    encoder = FTTransformerEncoder(settings, tickers=TICKERS, features=FEATURES)
    with torch.no_grad():  # biases and norms start at 0 and 1: give every parameter a value that could be mixed up
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    windows = torch.randn(BATCH, settings.lookback, TICKERS, FEATURES)
    return encoder, windows, torch.rand(BATCH, 1 + TICKERS) if joint else None


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("n_blocks", [1, 2, 3])
@pytest.mark.parametrize(("d_token", "n_heads", "lookback"), [(32, 4, 1), (32, 2, 7), (64, 8, 3)])
def test_forward_and_gradients_equal_the_official_package(
    dtype: torch.dtype, tolerance: float, joint: bool, n_blocks: int, d_token: int, n_heads: int, lookback: int
):
    ours, windows, entries = build(joint=joint, n_blocks=n_blocks, d_token=d_token, n_heads=n_heads, lookback=lookback)
    ours, windows, entries = ours.to(dtype), windows.to(dtype), None if entries is None else entries.to(dtype)
    peer = peer_module.make_peer(ours).to(dtype)
    direction = torch.randn(BATCH, 17, dtype=dtype) / BATCH  # a mean over the batch, as losses are
    close = {"atol": tolerance, "rtol": tolerance}
    windows.requires_grad_()
    inputs = peer_module.peer_inputs(ours, windows.detach(), entries).clone().requires_grad_()

    mine, theirs = ours(windows, entries), peer(inputs, None)
    torch.testing.assert_close(mine, theirs, **close)

    (mine * direction).sum().backward()
    (theirs * direction).sum().backward()
    assert windows.grad is not None
    assert inputs.grad is not None
    expected = inputs.grad[:, : ours.tokenizer.market_tokens]
    torch.testing.assert_close(peer_module.peer_inputs(ours, windows.grad, None), expected, **close)
    gradients = {  # only a masked entry reads the mask token
        name: p.grad for name, p in ours.named_parameters() if not name.endswith("mask_token")
    }
    paired = peer_module.paired(ours, gradients)
    for name, parameter in peer.named_parameters():
        torch.testing.assert_close(paired[name], parameter.grad, **close, msg=lambda m, n=name: f"{n}: {m}")


def test_every_weight_of_the_peer_is_one_of_ours():
    ours, _, _ = build(joint=True, n_blocks=2, d_token=32, n_heads=2, lookback=3)
    peer = peer_module.make_peer(ours)
    mask_tokens = ours.tokenizer.mask_token.numel()
    assert sum(p.numel() for p in ours.parameters()) - mask_tokens == sum(p.numel() for p in peer.parameters())
