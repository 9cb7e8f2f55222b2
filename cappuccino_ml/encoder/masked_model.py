"""The network that pre-training trains: an encoder and two decoders of what was hidden from it."""

import torch
from einops import rearrange
from torch import Tensor, nn

from cappuccino_ml.encoder.settings import EncoderSettings
from cappuccino_ml.encoder.transformer import FTTransformerEncoder


class MaskedFeatureModel(nn.Module):
    """An encoder and two decoders of what was hidden. No policy reads the decoders; they are kept to measure skill."""

    def __init__(self, settings: EncoderSettings, *, tickers: int, features: int) -> None:
        super().__init__()
        self.encoder = FTTransformerEncoder(settings, tickers=tickers, features=features)
        tokenizer = self.encoder.tokenizer
        # Each market token -> its own numbers, without a norm before it, which would erase how large a value is. A
        # loss on these alone would never train the CLS token ...
        bound = settings.d_token**-0.5
        shape = (tokenizer.market_tokens, settings.d_token, tokenizer.width)
        self.token_weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.token_bias = nn.Parameter(torch.zeros(tokenizer.market_tokens, 1, tokenizer.width))
        # ... which is what a policy reads. So the encoding must tell all entries as well.
        self.from_encoding = nn.Linear(settings.encoding_dim, tokenizer.market_tokens * tokenizer.width)

    def decoders(self) -> dict[str, Tensor]:
        """The decoders' weights alone, by the names they have here."""
        state: dict[str, Tensor] = self.state_dict()
        return {name: value for name, value in state.items() if not name.startswith("encoder.")}

    def forward(self, batch: Tensor, mask: Tensor, entries: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Windows and mask [B, L, N, F] -> both decoders' estimates of every entry, the same shape."""
        tokenizer = self.encoder.tokenizer
        tokens = self.encoder.tokens(batch, mask, entries=entries)
        market = rearrange(tokens[:, 1 : 1 + tokenizer.market_tokens], "b s d -> s b d")
        from_tokens = torch.baddbmm(self.token_bias, market, self.token_weight)  # (tokens, batch, numbers)
        from_encoding = self.from_encoding(self.encoder.encode_cls(tokens[:, 0]))
        return (
            tokenizer.ungroup(from_tokens),
            tokenizer.ungroup(rearrange(from_encoding, "b (s w) -> s b w", w=tokenizer.width)),
        )


def masked_losses(
    model: MaskedFeatureModel,
    batch: Tensor,
    mask: Tensor,
    *,
    entries: Tensor | None = None,
    count: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean squared error of hidden entries per feature, averaged over features, of either decoder.

    Args:
        model: the network.
        batch: windows [B, L, N, F].
        mask: the same shape, True where hidden.
        entries: the books' entries [B, 1 + N], for joint fusion.
        count: hidden entries per feature [F] of the whole batch this is a part of; the losses of the parts then add up.
    """
    count = hidden_per_feature(mask) if count is None else count
    from_tokens, from_encoding = (
        (torch.where(mask, estimate - batch, 0.0).square().sum((0, 1, 2)) / count).mean()
        for estimate in model(batch, mask, entries)
    )
    return from_tokens, from_encoding


def hidden_per_feature(mask: Tensor) -> Tensor:
    """How many entries of each feature are hidden, at least 1: [F]."""
    return mask.sum((0, 1, 2)).clamp(min=1)
