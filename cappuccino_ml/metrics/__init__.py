"""Pure measures of a policy's per-bar net returns: what it earned, at what risk, and how precisely that is known."""

from cappuccino_ml.metrics.capacity import capacity, volume_share
from cappuccino_ml.metrics.precision import (
    minimum_detectable_difference,
    minimum_track_record_length,
    probabilistic_sharpe,
    sharpe_standard_error,
)
from cappuccino_ml.metrics.returns import (
    alpha_beta,
    annual_return,
    annual_sharpe,
    annual_volatility,
    correlation,
    exposure,
    information_ratio,
    is_flat,
    max_drawdown,
    mean_over_folds,
    require_returns,
    saturated_share,
    total_return,
    turnover_per_day,
)
from cappuccino_ml.metrics.summary import Performance, summary

__all__ = [
    "Performance",
    "alpha_beta",
    "annual_return",
    "annual_sharpe",
    "annual_volatility",
    "capacity",
    "correlation",
    "exposure",
    "information_ratio",
    "is_flat",
    "max_drawdown",
    "mean_over_folds",
    "minimum_detectable_difference",
    "minimum_track_record_length",
    "probabilistic_sharpe",
    "require_returns",
    "saturated_share",
    "sharpe_standard_error",
    "summary",
    "total_return",
    "turnover_per_day",
    "volume_share",
]
