"""One frozen row of numbers per policy, ready for JSON and for a table."""

from numpy.typing import ArrayLike

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import precision
from cappuccino_ml.metrics import returns as measure


class Performance(Settings):
    """What a policy did over `bars` bars, net of costs. Shares are of equity; None where the input was not given."""

    bars: int
    bars_per_year: float
    total_return: float
    annual_return: float
    annual_volatility: float
    annual_sharpe: float
    sharpe_standard_error: float
    max_drawdown: float
    minimum_track_record_bars: float | None
    alpha: float | None
    beta: float | None
    information_ratio: float | None
    correlation: float | None
    exposure: float | None
    turnover_per_day: float | None
    saturated_share: float | None


def summary(
    *,
    returns: ArrayLike,
    bars_per_year: float,
    benchmark: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    turnover: ArrayLike | None = None,
    saturation: ArrayLike | None = None,
) -> Performance:
    """All measures of one policy.

    Args:
        returns: simple net return per bar [K].
        benchmark: synchronous returns [K], usually equal weight's; alpha, beta and information ratio refer to it.
        weights: [K, N] and turnover: [K], as a `Backtest` holds them.
        saturation: [K], the `saturated_share` of its actions.

    Raises:
        ValueError: a value is not finite or shapes do not match.
    """
    values = measure.require_returns(returns)
    alpha = beta = ratio = correlation = None
    if benchmark is not None:
        alpha, beta = measure.alpha_beta(values, benchmark, bars_per_year)
        ratio = measure.information_ratio(values, benchmark, bars_per_year)
        correlation = measure.correlation(values, benchmark)
    return Performance(
        bars=values.size,
        bars_per_year=bars_per_year,
        total_return=measure.total_return(values),
        annual_return=measure.annual_return(values, bars_per_year),
        annual_volatility=measure.annual_volatility(values, bars_per_year),
        annual_sharpe=measure.annual_sharpe(values, bars_per_year),
        sharpe_standard_error=precision.sharpe_standard_error(values, bars_per_year),
        max_drawdown=measure.max_drawdown(values),
        minimum_track_record_bars=precision.minimum_track_record_length(values, bars_per_year),
        alpha=alpha,
        beta=beta,
        information_ratio=ratio,
        correlation=correlation,
        exposure=None if weights is None else measure.exposure(weights),
        turnover_per_day=None if turnover is None else measure.turnover_per_day(turnover, bars_per_year),
        saturated_share=None if saturation is None else float(measure.require_returns(saturation).mean()),
    )
