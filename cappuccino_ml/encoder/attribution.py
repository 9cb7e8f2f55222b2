"""Which ticker and which feature an encoder looks at (attention rollout), and which drive a decision (gradients)."""

from collections.abc import Callable

import torch
from torch import Tensor

from cappuccino_ml.encoder.transformer import FTTransformerEncoder

_STEPS = 32  # points on the path of integrated gradients; doubling them moves shares by less than a percent


@torch.no_grad()
def attention_rollout(encoder: FTTransformerEncoder, windows: Tensor, entries: Tensor | None = None) -> Tensor:
    """How much of each token reaches CLS if attention were all that mixes them (Abnar & Zuidema 2020).

    Every block is half its attention (heads averaged) and half its residual path; the blocks' matrices are multiplied.
    It shows where the model looks, not what changes its output; for that see `integrated_gradients`. A block's matrix
    of all tokens by all tokens is made for one window at a time, the last block's for CLS only.

    Args:
        encoder: in eval mode.
        windows: scaled features [B, L, N, F].
        entries: the books' entries [B, 1 + N], in joint fusion.

    Returns:
        [B, N, F]; with the shares of CLS itself and of the book's entries it sums to 1. A ticker's token is shared out
        among its features by the size of what each contributes to it.
    """
    rows = []
    for index in range(len(windows)):
        own = None if entries is None else entries[index : index + 1]
        tokens = encoder.tokenizer(windows[index : index + 1], None, own)
        shares = _blocks_rollout(encoder, tokens)
        market = shares[1 : 1 + encoder.tokenizer.market_tokens]
        rows.append(_by_series(encoder, windows[index : index + 1], market))
    return torch.stack(rows)


def integrated_gradients(
    function: Callable[[Tensor], Tensor], windows: Tensor, *, baseline: Tensor | None = None, steps: int = _STEPS
) -> Tensor:
    """What each entry adds to `function`, along the straight path from a baseline (Sundararajan et al. 2017).

    Args:
        function: windows [B, L, N, F] -> one number per window [B]: encoder and head, such as one ticker's action.
        windows: scaled features.
        baseline: where the path begins [L, N, F] or [B, L, N, F]; by default 0, the mean of every scaled feature.
        steps: points on the path (midpoint rule).

    Returns:
        [B, N, F], summed over lags; the sum over tickers and features is function(windows) - function(baseline).
    """
    start = torch.zeros_like(windows) if baseline is None else baseline.expand_as(windows)
    distance = windows - start
    total = torch.zeros_like(windows)
    for step in range(steps):
        point = (start + distance * ((step + 0.5) / steps)).detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(function(point).sum(), point)
        total += gradient
    return (total / steps * distance).detach().sum(1)


def importance(attributions: Tensor) -> Tensor:
    """Attributions [B, N, F] of many windows -> mean size as shares that sum to 1: [N, F]."""
    sizes = attributions.abs().mean(0)
    return sizes / sizes.sum().clamp(min=torch.finfo(sizes.dtype).tiny)


def _blocks_rollout(encoder: FTTransformerEncoder, tokens: Tensor) -> Tensor:
    """Tokens [1, 1 + S, d] of one window -> shares of CLS [1 + S], summing to 1."""
    mixed: list[Tensor] = []  # of the blocks before the last
    for index, block in enumerate(encoder.blocks):
        last = index == len(encoder.blocks) - 1
        normed = block.attention_norm(tokens)  # type: ignore[operator]
        queries = normed[:, :1] if last else normed
        weights = block.attention.weights(queries, normed)[0].mean(0)  # type: ignore[union-attr,operator]
        mixed.append((weights + torch.eye(*weights.shape, device=weights.device)) / 2)
        tokens = block(tokens, 1 if last else None)
    shares = mixed.pop()[0]
    for weights in reversed(mixed):
        shares = shares @ weights
    return shares


def _by_series(encoder: FTTransformerEncoder, windows: Tensor, market: Tensor) -> Tensor:
    """Shares of the market tokens [S] of one window -> [N, F]."""
    tokenizer = encoder.tokenizer
    shape = (tokenizer.tickers, tokenizer.features)
    if tokenizer.tokenization != "ticker":
        return market.view(*shape, -1).sum(-1)
    lags = tokenizer.group(windows)[:, 0].view(*shape, -1)
    vectors = torch.einsum("nfl,nfld->nfd", lags, tokenizer.weight.view(*shape, lags.shape[-1], -1))
    sizes: Tensor = vectors.norm(dim=-1)
    parts: Tensor = sizes / sizes.sum(1, keepdim=True).clamp(min=torch.finfo(sizes.dtype).tiny)
    return market[:, None] * parts
