"""Feature tokens of a window: one per ticker and feature, per ticker, or per scalar, with learned mask tokens."""

import torch
from einops import rearrange
from torch import Tensor, nn

from cappuccino_ml.encoder.settings import Fusion, Tokenization

# How [B, L, N, F] becomes (tokens, batch, numbers per token).
_PATTERNS: dict[Tokenization, str] = {
    "series": "b l n f -> (n f) b l",
    "ticker": "b l n f -> n b (f l)",
    "scalar": "b l n f -> (n f l) b 1",
}


class FeatureTokenizer(nn.Module):
    """[B, L, N, F] windows -> [B, 1 + S, d_token] tokens: CLS, the market's, then the book's in joint fusion.

    Every token has its own weights over its numbers and its own bias (which tells the tokens apart), as in Gorishniy et
    al. 2021, section 3.3, with the scalar widened to what the tokenization groups. A masked entry contributes a learned
    vector of its place; its value is multiplied by zero before it is used.
    """

    def __init__(
        self,
        *,
        lookback: int,
        tickers: int,
        features: int,
        d_token: int,
        tokenization: Tokenization = "series",
        fusion: Fusion = "late",
    ) -> None:
        super().__init__()
        self.lookback, self.tickers, self.features = lookback, tickers, features
        self.tokenization = tokenization
        self.market_tokens = {
            "series": tickers * features,
            "ticker": tickers,
            "scalar": tickers * features * lookback,
        }[tokenization]
        self.width = lookback * tickers * features // self.market_tokens  # numbers per token
        self.entries = 1 + tickers if fusion == "joint" else 0
        bound = d_token**-0.5

        def uniform(*shape: int, bound: float) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        # A token of w numbers is embedded like nn.Linear(w, d), a single number as in the paper.
        scale = bound if self.width == 1 else self.width**-0.5
        self.weight = uniform(self.market_tokens, self.width, d_token, bound=scale)
        self.mask_token = uniform(self.market_tokens, self.width, d_token, bound=scale * 0.1)
        self.bias = uniform(self.market_tokens, d_token, bound=bound)
        self.cls = uniform(d_token, bound=bound)
        if self.entries:
            self.entry_weight = uniform(self.entries, d_token, bound=bound)
            self.entry_bias = uniform(self.entries, d_token, bound=bound)

    def forward(self, windows: Tensor, mask: Tensor | None = None, entries: Tensor | None = None) -> Tensor:
        """Tokens of `windows` [B, L, N, F].

        Args:
            windows: scaled features.
            mask: same shape, True where the value is hidden.
            entries: cash share and weights [B, 1 + N]; joint fusion needs them, late fusion refuses them.
        """
        expected = (self.lookback, self.tickers, self.features)
        if tuple(windows.shape[1:]) != expected:
            raise ValueError(
                f"windows have (lookback, tickers, features) = {tuple(windows.shape[1:])}, but the tokenizer was built "
                f"for {expected}; use windows of that shape."
            )
        if (None if entries is None else tuple(entries.shape)) != (
            (len(windows), self.entries) if self.entries else None
        ):
            found = "no entries" if entries is None else f"entries of shape {tuple(entries.shape)}"
            wanted = f"entries of shape {(len(windows), self.entries)}" if self.entries else "none (late fusion)"
            raise ValueError(f"the tokenizer got {found}, but takes {wanted}; pass those.")
        if mask is not None:
            windows = torch.where(mask, 0.0, windows)
        tokens = self._embed(self.group(windows), None if mask is None else self.group(mask).to(windows.dtype))
        parts = [self.cls.expand(len(windows), 1, -1), tokens]
        if entries is not None:
            parts.append(torch.addcmul(self.entry_bias, entries.unsqueeze(-1), self.entry_weight))
        return torch.cat(parts, dim=1)  # contiguous, or every later product would copy its operand again

    def group(self, windows: Tensor) -> Tensor:
        """[B, L, N, F] -> (market tokens, B, numbers per token)."""
        return rearrange(windows, _PATTERNS[self.tokenization])

    def ungroup(self, grouped: Tensor) -> Tensor:
        """(market tokens, B, numbers per token) -> [B, L, N, F]."""
        left, right = _PATTERNS[self.tokenization].split(" -> ")
        sizes = {"n": self.tickers, "f": self.features, "l": self.lookback}
        return rearrange(grouped, f"{right} -> {left}", **{axis: sizes[axis] for axis in "nfl" if axis in right})

    def _embed(self, grouped: Tensor, hidden: Tensor | None) -> Tensor:
        """Grouped values and mask -> [B, market tokens, d_token]."""
        if self.width == 1:  # a product of matrices one wide would be slow
            tokens = torch.addcmul(self.bias, rearrange(grouped, "s b 1 -> b s 1"), self.weight.squeeze(1))
            if hidden is not None:
                tokens = torch.addcmul(tokens, rearrange(hidden, "s b 1 -> b s 1"), self.mask_token.squeeze(1))
            return tokens
        tokens = torch.baddbmm(self.bias.unsqueeze(1), grouped, self.weight)  # (tokens, batch, d_token)
        if hidden is not None:
            tokens = torch.baddbmm(tokens, hidden, self.mask_token)
        return tokens.transpose(0, 1)
