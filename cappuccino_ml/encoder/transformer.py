"""The FT-Transformer (Gorishniy et al. 2021, arXiv 2106.11959) as an encoder of market windows."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cappuccino_ml.encoder.attention import MultiheadAttention
from cappuccino_ml.encoder.settings import EncoderSettings
from cappuccino_ml.encoder.tokenizer import FeatureTokenizer


class Block(nn.Module):
    """Pre-norm attention and ReGLU feed-forward."""

    def __init__(self, *, d_token: int, n_heads: int, dropout: float, norm_attention: bool) -> None:
        super().__init__()
        hidden = int(d_token * 4 / 3)
        self.attention_norm = nn.LayerNorm(d_token) if norm_attention else nn.Identity()
        self.attention = MultiheadAttention(d_token=d_token, n_heads=n_heads)
        self.ffn_norm = nn.LayerNorm(d_token)
        self.ffn_in = nn.Linear(d_token, 2 * hidden)
        self.ffn_out = nn.Linear(hidden, d_token)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, rows: int | None = None) -> Tensor:
        """[B, S, d] -> [B, rows, d]; `rows=1` computes the CLS token only, which is exact in the last block."""
        normed = self.attention_norm(tokens)
        x = tokens[:, :rows] + self.dropout(self.attention(normed[:, :rows], normed))
        value, gate = self.ffn_in(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.dropout(self.ffn_out(value * gate.relu()))  # type: ignore[no-any-return]


class FTTransformerEncoder(nn.Module):
    """Windows [B, L, N, F] of scaled features -> encodings [B, encoding_dim]."""

    def __init__(self, settings: EncoderSettings, *, tickers: int, features: int) -> None:
        super().__init__()
        self.settings = settings
        self.tokenizer = FeatureTokenizer(
            lookback=settings.lookback,
            tickers=tickers,
            features=features,
            d_token=settings.d_token,
            tokenization=settings.tokenization,
            fusion=settings.fusion,
        )
        # The first block has no attention norm, as in the paper: it would erase the magnitude of the values.
        self.blocks = nn.ModuleList(
            Block(
                d_token=settings.d_token, n_heads=settings.n_heads, dropout=settings.dropout, norm_attention=index > 0
            )
            for index in range(settings.n_blocks)
        )
        self.norm = nn.LayerNorm(settings.d_token)
        self.head = nn.Linear(settings.d_token, settings.encoding_dim)
        if settings.compile:
            for block in self.blocks:
                block.compile()  # in place, so that the names of the weights stay

    @property
    def encoding_dim(self) -> int:
        """Width of an encoding."""
        return self.settings.encoding_dim

    def forward(self, windows: Tensor, entries: Tensor | None = None) -> Tensor:
        """Encode; the last block computes its CLS row only. `entries` [B, 1 + N] in joint fusion."""
        return self.encode_cls(self.tokens(windows, entries=entries, rows=1)[:, 0])

    def tokens(
        self, windows: Tensor, mask: Tensor | None = None, *, entries: Tensor | None = None, rows: int | None = None
    ) -> Tensor:
        """The tokens after the last block, CLS first: [B, 1 + S, d_token], or its first `rows` only; float32."""
        with torch.autocast(windows.device.type, dtype=torch.bfloat16, enabled=self.settings.bf16):
            tokens: Tensor = self.tokenizer(windows, mask, entries)
            for index, block in enumerate(self.blocks):
                wanted = rows if index == len(self.blocks) - 1 else None
                if self.settings.checkpointing and torch.is_grad_enabled():
                    tokens = checkpoint(block, tokens, wanted, use_reentrant=False)
                else:
                    tokens = block(tokens, wanted)
        return tokens.float() if self.settings.bf16 else tokens

    def encode_cls(self, cls: Tensor) -> Tensor:
        """[B, d_token] -> [B, encoding_dim]."""
        return self.head(torch.relu(self.norm(cls)))  # type: ignore[no-any-return]
