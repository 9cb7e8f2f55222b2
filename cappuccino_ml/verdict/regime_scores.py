"""One policy in each market regime, with an interval and how many separate stretches; `regimes` has the rule."""

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import annual_sharpe, max_drawdown, total_return, turnover_per_day
from cappuccino_ml.verdict.bootstrap import NotTestableError, sharpe_interval
from cappuccino_ml.verdict.regimes import REGIMES, Regime

Floats = NDArray[np.float64]


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


def score_regimes(
    returns: Floats,
    regimes: NDArray[np.int8],
    *,
    bars_per_year: float,
    seed: int,
    turnover: Floats | None = None,
    breaks: tuple[int, ...] = (),
    resamples: int = 4999,
) -> tuple[RegimeScore, ...]:
    """One policy's score in each regime, in the order of `REGIMES`; one without bars is there, and empty.

    Args:
        returns: net simple return per bar [K].
        regimes: the one each bar was decided in [K], as indices into `REGIMES`.
        bars_per_year: of the timeframe.
        seed: of the bootstrap.
        turnover: share of equity traded per bar [K].
        breaks: positions at which another span begins, as where folds are put together.
        resamples: of the bootstrap.

    Raises:
        ValueError: lengths differ.
    """
    if len(returns) != len(regimes) or (turnover is not None and len(turnover) != len(regimes)):
        raise ValueError(f"{len(returns)} returns and {len(regimes)} regimes; pass one of each per bar")
    scores = []
    for place, regime in enumerate(REGIMES):
        chosen = np.flatnonzero(regimes == place)
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
