"""The network that pre-training trains: an encoder and two decoders of what was hidden from it."""

import torch
from einops import rearrange
from torch import Tensor, nn

from cappuccino_ml.encoder.transformer import EncoderSettings, FTTransformerEncoder


class MaskedFeatureModel(nn.Module):
    """An encoder and two decoders of what was hidden. The decoders are thrown away after pre-training."""

    def __init__(self, settings: EncoderSettings, *, tickers: int, features: int) -> None:
        super().__init__()
        series, lookback = tickers * features, settings.lookback
        self.shape = (lookback, tickers, features)
        self.encoder = FTTransformerEncoder(settings, tickers=tickers, features=features)
        # Each series' token -> its lags, without a norm before it, which would erase how large a value is. A loss on
        # these alone would never train the CLS token ...
        bound = settings.d_token**-0.5
        self.token_weight = nn.Parameter(torch.empty(series, settings.d_token, lookback).uniform_(-bound, bound))
        self.token_bias = nn.Parameter(torch.zeros(series, 1, lookback))
        # ... which is what a policy reads. So the encoding must tell all entries as well.
        self.from_encoding = nn.Linear(settings.encoding_dim, series * lookback)

    def forward(self, batch: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Windows and mask [B, L, N, F] -> both decoders' estimates of every entry, the same shape."""
        tokens = self.encoder.tokens(batch, mask)
        per_series = rearrange(tokens[:, 1:], "b s d -> s b d")
        from_tokens = torch.baddbmm(self.token_bias, per_series, self.token_weight)  # (series, batch, lags)
        _, tickers, _ = self.shape
        from_encoding = self.from_encoding(self.encoder.encode_cls(tokens[:, 0]))
        return (
            rearrange(from_tokens, "(n f) b l -> b l n f", n=tickers),
            rearrange(from_encoding, "b (n f l) -> b l n f", n=tickers, l=self.shape[0]),
        )


def masked_losses(model: MaskedFeatureModel, batch: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of hidden entries per feature, averaged over features, of either decoder."""
    count = mask.sum((0, 1, 2)).clamp(min=1)
    from_tokens, from_encoding = (
        (torch.where(mask, estimate - batch, 0.0).square().sum((0, 1, 2)) / count).mean()
        for estimate in model(batch, mask)
    )
    return from_tokens, from_encoding
