"""The FT-Transformer (Gorishniy et al. 2021, arXiv 2106.11959) as an encoder of market windows."""

import torch
from pydantic import Field
from torch import Tensor, nn

from cappuccino_ml.core import Settings
from cappuccino_ml.encoder.attention import MultiheadAttention
from cappuccino_ml.encoder.tokenizer import FeatureTokenizer


class EncoderSettings(Settings):
    """Shape of an encoder. The spec's presets are `SMALL`, `BALANCED` and `LARGE` below."""

    lookback: int = Field(10, ge=1, description="bars in a window")
    d_token: int = Field(64, ge=1)
    n_blocks: int = Field(2, ge=1)
    n_heads: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1, description="on residual branches, in pre-training only")
    encoding_dim: int = Field(512, ge=1)


SMALL = EncoderSettings(d_token=32, n_blocks=1, n_heads=2, dropout=0.05, encoding_dim=256)
BALANCED = EncoderSettings()
LARGE = EncoderSettings(d_token=128, n_blocks=3, n_heads=8, dropout=0.15, encoding_dim=1024)


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

    def forward(self, tokens: Tensor, *, rows: int | None = None) -> Tensor:
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
            lookback=settings.lookback, tickers=tickers, features=features, d_token=settings.d_token
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

    @property
    def encoding_dim(self) -> int:
        """Width of an encoding."""
        return self.settings.encoding_dim

    def forward(self, windows: Tensor) -> Tensor:
        """Encode; the last block computes its CLS row only."""
        return self.encode_cls(self.tokens(windows, rows=1)[:, 0])

    def tokens(self, windows: Tensor, mask: Tensor | None = None, *, rows: int | None = None) -> Tensor:
        """The tokens after the last block: [B, 1 + N*F, d_token], or its first `rows` only."""
        tokens: Tensor = self.tokenizer(windows, mask)
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, rows=rows if index == len(self.blocks) - 1 else None)
        return tokens

    def encode_cls(self, cls: Tensor) -> Tensor:
        """[B, d_token] -> [B, encoding_dim]."""
        return self.head(torch.relu(self.norm(cls)))  # type: ignore[no-any-return]

    @torch.no_grad()
    def cls_attention(self, windows: Tensor) -> Tensor:
        """How much the CLS token of the last block looks at each series: [B, N, F], heads averaged.

        Where the model looks, not what drives it; read it beside an ablation.
        """
        tokens = self.tokenizer(windows)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        normed = last.attention_norm(tokens)  # type: ignore[operator]
        weights = last.attention.weights(normed[:, :1], normed)[:, :, 0, 1:].mean(1)  # type: ignore[union-attr,operator]
        return weights.view(len(windows), self.tokenizer.tickers, self.tokenizer.features)  # type: ignore[no-any-return]
