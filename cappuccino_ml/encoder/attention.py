"""Multi-head attention whose memory is linear in the number of tokens."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class MultiheadAttention(nn.Module):
    """Attention of some rows over all tokens. Dropout is not applied inside: it would leave the fused kernel."""

    def __init__(self, *, d_token: int, n_heads: int) -> None:
        super().__init__()
        if d_token % n_heads:
            raise ValueError(f"d_token {d_token} is not a multiple of n_heads {n_heads}; choose one that is")
        self.n_heads = n_heads
        self.query = nn.Linear(d_token, d_token)
        self.key_value = nn.Linear(d_token, 2 * d_token)
        self.out = nn.Linear(d_token, d_token)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """[B, Q, d] attending to [B, S, d] -> [B, Q, d]."""
        query, key, value = self._heads(queries, tokens)
        return self.out(rearrange(scaled_dot_product_attention(query, key, value), "b h q d -> b q (h d)"))  # type: ignore[no-any-return]

    @torch.no_grad()
    def weights(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attention weights [B, heads, Q, S], for pictures only: this materialises them."""
        query, key, _ = self._heads(queries, tokens)
        weights: Tensor = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        return weights

    def _heads(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = rearrange(self.query(queries), "b q (h d) -> b h q d", h=self.n_heads)
        key, value = rearrange(self.key_value(tokens), "b s (two h d) -> two b h s d", two=2, h=self.n_heads)
        return query, key, value
