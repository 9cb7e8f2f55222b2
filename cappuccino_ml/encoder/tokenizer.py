"""Feature tokens: one per ticker x feature, its lookback window embedded (`series`), with a learned mask channel."""

import torch
from einops import rearrange
from torch import Tensor, nn


class FeatureTokenizer(nn.Module):
    """[B, L, N, F] windows -> [B, 1 + N*F, d_token] tokens, the CLS token first.

    Every series has its own weights over its L lags and its own bias (which tells the series apart), as in
    Gorishniy et al. 2021, section 3.3, with the scalar widened to a window. A masked entry contributes a learned
    vector of its series and lag; its value is multiplied by zero before it is used.
    """

    def __init__(self, *, lookback: int, tickers: int, features: int, d_token: int) -> None:
        super().__init__()
        series = tickers * features
        bound = d_token**-0.5
        self.lookback, self.tickers, self.features = lookback, tickers, features
        # One row of input weights per series; a window is L numbers, so its embedding is scaled like nn.Linear(L, d).
        self.weight = nn.Parameter(torch.empty(series, lookback, d_token).uniform_(-1, 1) * lookback**-0.5)
        self.mask_token = nn.Parameter(torch.empty(series, lookback, d_token).uniform_(-1, 1) * lookback**-0.5 * 0.1)
        self.bias = nn.Parameter(torch.empty(series, d_token).uniform_(-bound, bound))
        self.cls = nn.Parameter(torch.empty(d_token).uniform_(-bound, bound))

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens of `windows` [B, L, N, F]; `mask`, same shape, is True where the value is hidden."""
        expected = (self.lookback, self.tickers, self.features)
        if tuple(windows.shape[1:]) != expected:
            raise ValueError(
                f"windows have (lookback, tickers, features) = {tuple(windows.shape[1:])}, but the tokenizer was built "
                f"for {expected}; use windows of that shape."
            )
        if mask is not None:
            windows = torch.where(mask, 0.0, windows)
        lags = rearrange(windows, "b l n f -> (n f) b l")
        tokens = torch.baddbmm(self.bias.unsqueeze(1), lags, self.weight)  # (series, batch, d_token)
        if mask is not None:
            tokens = tokens + torch.bmm(rearrange(mask, "b l n f -> (n f) b l").to(windows.dtype), self.mask_token)
        cls = self.cls.expand(1, len(windows), -1)
        # Contiguous, or every later product would copy its operand again.
        return torch.cat([cls, tokens]).transpose(0, 1).contiguous()
