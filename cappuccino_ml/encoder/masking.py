"""Which entries of a window pre-training hides: single cells, the most recent lags, or whole series; and books."""

import torch
from torch import Tensor


def sample_masks(
    *, rows: int, lookback: int, tickers: int, features: int, share: float, generator: torch.Generator
) -> Tensor:
    """Draw masks; the same generator state gives the same masks.

    A third of the rows each (the remainder goes to the earlier kinds) gets, in random order:

    - cells: every entry on its own. Alone it would be an easy task: the neighbouring bar gives a cell nearly away.
    - spans: the last k lags of some series, k the same in a row and uniform in 1..L: what has just happened?
    - series: some ticker x feature series whole: what do the others say about it?

    Args:
        rows: B, windows to mask.
        lookback: L.
        tickers: N.
        features: F.
        share: expected share of hidden entries, the same for each kind; above 0, at most 0.5.
        generator: a CPU generator.

    Returns:
        bool [B, L, N, F] on the CPU, True where hidden.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"mask share {share} is not above 0 and at most 0.5; spans hide half of a window on average")
    # Lags last in memory, as in `windows`, so that the two meet without copies.
    mask = torch.zeros(rows, tickers, features, lookback, dtype=torch.bool).movedim(-1, 1)
    cells, spans, series = torch.randperm(rows, generator=generator).tensor_split(3)

    def draw(chosen: Tensor, lags: int, probability: float) -> Tensor:
        return torch.rand(len(chosen), lags, tickers, features, generator=generator) < probability

    mask[cells] = draw(cells, lookback, share)
    mask[series] = draw(series, 1, share)
    # A hidden span covers (L + 1) / 2 lags of L on average, so more series have one.
    length = torch.randint(1, lookback + 1, (len(spans), 1), generator=generator)
    recent = torch.arange(lookback) >= lookback - length  # (spans, lags)
    mask[spans] = recent[:, :, None, None] & draw(spans, 1, share * 2 * lookback / (lookback + 1))
    return mask


def random_books(*, rows: int, tickers: int, generator: torch.Generator) -> Tensor:
    """Entries of books that could be anybody's, uniform over cash and weights that sum to one: [rows, 1 + tickers].

    Joint fusion is pre-trained beside them. They are never hidden and never a target: nobody could guess them.
    """
    draws = -torch.log1p(-torch.rand(rows, 1 + tickers, generator=generator))
    return draws / draws.sum(1, keepdim=True)
