"""What a holdout could and could not have shown: its precision in numbers and in one plain sentence."""

from numpy.typing import ArrayLike

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import (
    correlation,
    is_flat,
    minimum_detectable_difference,
    require_returns,
    sharpe_standard_error,
)


class Power(Settings):
    """Precision of a holdout. Sharpe ratios are annual."""

    bars: int
    years: float
    standard_error: float
    correlation: float | None  # None against cash
    minimum_detectable_difference: float
    power: float
    alpha: float
    sentence: str


def holdout_power(
    *, candidate: ArrayLike, incumbent: ArrayLike, bars_per_year: float, power: float = 0.8, alpha: float = 0.05
) -> Power:
    """Precision of the comparison on these synchronous bars [T]; an incumbent that never trades counts as cash."""
    ours = require_returns(candidate)
    against_cash = is_flat(incumbent)
    together = None if against_cash else correlation(ours, incumbent)
    smallest = minimum_detectable_difference(
        bars=ours.size, bars_per_year=bars_per_year, correlation=together, power=power, alpha=alpha
    )
    error = sharpe_standard_error(ours, bars_per_year)
    years = ours.size / bars_per_year
    rival = "cash" if together is None else f"the incumbent (correlation {together:.2f})"
    sentence = (
        f"{ours.size:,} bars ({years:.2f} years) know an annual Sharpe to within a standard error of {error:.2f}; "
        f"against {rival} a true difference of {smallest:.2f} or more is found with {power:.0%} power at the "
        f"{alpha:.0%} level (two-sided), and a smaller one may well be missed."
    )
    return Power(
        bars=ours.size,
        years=years,
        standard_error=error,
        correlation=together,
        minimum_detectable_difference=smallest,
        power=power,
        alpha=alpha,
        sentence=sentence,
    )
