"""Lookback windows as strided views: the market is stored once, whatever the lookback."""

from torch import Tensor


def windows(market: Tensor, rows: Tensor, lookback: int) -> Tensor:
    """The `lookback` bars up to and including each row.

    Args:
        market: scaled features [T, N, F].
        rows: [U] row indices, each at least lookback - 1.
        lookback: L.

    Returns:
        [U, L, N, F], oldest bar first.
    """
    return market.unfold(0, lookback, 1)[rows - lookback + 1].movedim(-1, 1)
