"""How much capital a policy could have run before its orders were too large for the venue's own volume."""

import numpy as np
from numpy.typing import ArrayLike

from cappuccino_ml.metrics.returns import Floats

_NO_VOLUME = 1e-12  # base units; a fill in a bar without trades is impossible at any size


def volume_share(*, orders: ArrayLike, volume: ArrayLike, equity: ArrayLike) -> Floats:
    """Largest share of a bar's volume that any order took, per unit of quote currency of equity -> [K].

    Args:
        orders: filled base units [K, N].
        volume: of the bars they were filled in, base units [K, N].
        equity: before the trade, quote currency [K].

    Raises:
        ValueError: shapes do not match, or a value is not finite, or volume is negative or equity not positive.
    """
    filled, traded, capital = (np.asarray(values, dtype=np.float64) for values in (orders, volume, equity))
    if filled.ndim != 2 or filled.shape != traded.shape or capital.shape != filled.shape[:1] or not filled.size:
        raise ValueError(
            f"orders {filled.shape}, volume {traded.shape} and equity {capital.shape}; pass [K, N] and [K]"
        )
    if not all(np.isfinite(values).all() for values in (filled, traded, capital)):
        raise ValueError("orders, volume and equity must be finite; repair, do not drop")
    if traded.min() < 0.0 or capital.min() <= 0.0:
        raise ValueError(f"volume falls to {traded.min():.4g} and equity to {capital.min():.4g}; both must be positive")
    return np.asarray((np.abs(filled) / np.maximum(traded, _NO_VOLUME)).max(axis=1) / capital)


def capacity(shares: ArrayLike, *, participation: float = 0.01, fitting: float = 0.95) -> float | None:
    """Capital in quote currency at which `fitting` of the trading bars take at most `participation` of the volume.

    Fills and prices are taken as they were, so this is an upper bound. None for a policy that never traded.

    Args:
        shares: as `volume_share` gives them, [K].
        participation: largest share of a bar's volume that an order may be.
        fitting: share of the bars that must keep to it.
    """
    values = np.asarray(shares, dtype=np.float64)
    if not 0.0 < participation <= 1.0 or not 0.0 < fitting <= 1.0 or not np.isfinite(values).all():
        raise ValueError(f"participation {participation} and fitting {fitting} must be in (0, 1], the shares finite")
    trading = values[values > 0.0]
    return participation / float(np.quantile(trading, fitting)) if trading.size else None
