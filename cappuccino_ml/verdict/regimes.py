"""Bull, bear and sideways: one rule over the equal-weight market, and what policies did on the bars of each.

The rule is causal. A bar belongs to the regime that was known when it was decided on: bull if the equally weighted
market had gained more than 10% over the 30 days before close(t), bear if it had lost more than 10%, else sideways. A
label made afterwards, from the return of the same bars, would put every policy that holds something ahead in "bull".
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import annual_sharpe, max_drawdown, total_return, turnover_per_day
from cappuccino_ml.verdict.bootstrap import NotTestableError, sharpe_interval

Floats = NDArray[np.float64]
Regime = Literal["bull", "bear", "sideways"]

REGIMES: tuple[Regime, ...] = get_args(Regime)


class RegimeRule(Settings):
    """Which bars are bull, bear or sideways."""

    days: float = Field(30.0, gt=0, description="of the trailing market return")
    threshold: float = Field(0.10, gt=0, lt=1, description="return above it is bull, below its negative bear")

    @property
    def sentence(self) -> str:
        """The rule as people read it."""
        return (
            f"A bar is bull where the equally weighted market had gained more than {self.threshold:.0%} over the "
            f"{self.days:g} days before the decision, bear where it had lost more than {self.threshold:.0%}, else "
            "sideways: known at the decision, not made afterwards."
        )


class RegimeScore(Settings):
    """One policy on the bars of one regime, net of costs."""

    regime: Regime
    bars: int
    stretches: int  # of consecutive bars; few of them are few independent looks, however many bars they hold
    sharpe: float | None  # annual; None without bars
    interval: tuple[float, float] | None  # 95%, by blocks over the regime's bars put together; None: not testable
    total_return: float  # compounded over the regime's bars
    max_drawdown: float  # the worst within one stretch: equity is never carried over a splice
    turnover_per_day: float | None  # None where turnover was not given


def label_regimes(close: Floats, *, rule: RegimeRule, bars_per_year: float) -> NDArray[np.str_]:
    """The regime of every row, "bull", "bear" or "sideways" [T]; row t uses closes up to t only.

    The market holds equal parts of all tickers, put together anew each bar. Rows before the first whole window are
    labelled by as many bars as there are, so that the threshold is harder to pass there.

    Args:
        close: [T, N], quote currency.
        rule: window and threshold.
        bars_per_year: of the timeframe.
    """
    window = max(1, round(rule.days * bars_per_year / 365.0))
    market = np.concatenate([[0.0], np.cumsum(np.log1p((close[1:] / close[:-1] - 1.0).mean(axis=1)))])
    before = market[np.maximum(np.arange(len(market)) - window, 0)]
    trailing = np.expm1(market - before)
    return np.where(trailing > rule.threshold, "bull", np.where(trailing < -rule.threshold, "bear", "sideways"))


def score_regimes(
    returns: Floats,
    labels: NDArray[np.str_],
    *,
    bars_per_year: float,
    seed: int,
    turnover: Floats | None = None,
    breaks: tuple[int, ...] = (),
    resamples: int = 1999,
) -> tuple[RegimeScore, ...]:
    """One policy's score in each regime, in the order of `REGIMES`; a regime without bars is there, and empty.

    Args:
        returns: net simple return per bar [K].
        labels: the regime each bar was decided in [K].
        bars_per_year: of the timeframe.
        seed: of the bootstrap.
        turnover: share of equity traded per bar [K].
        breaks: positions at which another span begins, as where folds are put together.
        resamples: of the bootstrap.

    Raises:
        ValueError: lengths differ.
    """
    if len(returns) != len(labels) or (turnover is not None and len(turnover) != len(labels)):
        raise ValueError(f"{len(returns)} returns and {len(labels)} regimes; pass one of each per bar")
    scores = []
    for regime in REGIMES:
        chosen = np.flatnonzero(labels == regime)
        first = np.isin(chosen, breaks) | np.concatenate([[True], np.diff(chosen) > 1])[: chosen.size]
        stretches = np.split(chosen, np.flatnonzero(first)[1:]) if chosen.size else []
        earned = returns[chosen]
        interval = None
        try:
            if chosen.size:
                interval = sharpe_interval(earned, bars_per_year=bars_per_year, seed=seed, resamples=resamples).interval
        except NotTestableError:
            pass  # too few bars, or a policy that never trades: no interval is shown
        scores.append(
            RegimeScore(
                regime=regime,
                bars=chosen.size,
                stretches=len(stretches),
                sharpe=annual_sharpe(earned, bars_per_year) if chosen.size else None,
                interval=interval,
                total_return=total_return(earned) if chosen.size else 0.0,
                max_drawdown=max((max_drawdown(returns[rows]) for rows in stretches), default=0.0),
                turnover_per_day=(
                    None if turnover is None or not chosen.size else turnover_per_day(turnover[chosen], bars_per_year)
                ),
            )
        )
    return tuple(scores)
