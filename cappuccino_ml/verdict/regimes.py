"""Bull, bear and sideways: a causal rule on the equal-weight market alone, and what every policy earned in each.

The trailing 30-day return of equal weight, known when a bar's decision is taken. The distance between entering and
leaving keeps a return near a threshold from changing the regime every hour.
"""

import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import annual_sharpe, sharpe_standard_error, total_return

Floats = NDArray[np.float64]
Regime = Literal["bull", "bear", "sideways", "unknown"]
REGIMES: tuple[Regime, ...] = ("bull", "bear", "sideways", "unknown")


class RegimeRule(Settings):
    """Thresholds on the trailing return of equal weight, rebalanced at every bar, without costs."""

    days: float = Field(30.0, gt=0, description="length of the trailing return")
    enter: float = Field(0.10, gt=0, description="a bull begins above it, a bear below its negative")
    leave: float = Field(0.05, ge=0, description="a bull ends below it, a bear above its negative")

    @property
    def sentence(self) -> str:
        """The rule in words."""
        return (
            f"Regime of a bar: the equal-weight market's return over the {self.days:g} days before its decision. Bull "
            f"begins above {self.enter:+.0%} and ends below {self.leave:+.0%}, bear begins below {-self.enter:+.0%} "
            f"and ends above {-self.leave:+.0%}, the rest is sideways. Causal: no later bar is used."
        )


class RegimeResult(Settings):
    """One policy in one regime, net of costs. Bars of a regime need not follow each other."""

    policy: str
    regime: Regime
    bars: int
    total_return: float
    sharpe: float  # annual
    standard_error: float | None  # of the annual Sharpe; None with too few bars or for a flat policy
    turnover_per_day: float


class Spell(Settings):
    """An unbroken stretch of one regime: bars first .. last - 1 of the holdout."""

    regime: Regime
    first: int
    last: int


class RegimeTable(Settings):
    """All policies in all regimes that occurred."""

    rule: RegimeRule
    spells: tuple[Spell, ...]
    results: tuple[RegimeResult, ...]

    def bars(self, regime: Regime) -> int:
        """Bars in a regime."""
        return sum(spell.last - spell.first for spell in self.spells if spell.regime == regime)


def market_regimes(close: Floats, *, bars_per_day: float, rule: RegimeRule | None = None) -> NDArray[np.int8]:
    """Regime of each row [T] as an index into `REGIMES`, from closes [T, N] up to that row.

    Rows with less than the rule's days behind them are unknown.

    Raises:
        ValueError: the trailing window is shorter than one bar, or a bull would end above where it begins.
    """
    rule = rule or RegimeRule()
    window = round(rule.days * bars_per_day)
    if window < 1 or rule.leave > rule.enter:
        raise ValueError(
            f"{window} bars of {rule.days:g} days, leave {rule.leave} and enter {rule.enter}; see RegimeRule"
        )
    index = np.cumprod(np.concatenate([[1.0], (close[1:] / close[:-1]).mean(axis=1)]))
    found = np.full(len(close), REGIMES.index("unknown"), dtype=np.int8)
    bull, bear, sideways = (REGIMES.index(name) for name in ("bull", "bear", "sideways"))
    state = sideways
    for row in range(window, len(close)):
        trailing = index[row] / index[row - window] - 1.0
        if trailing > rule.enter:
            state = bull
        elif trailing < -rule.enter:
            state = bear
        elif (state == bull and trailing < rule.leave) or (state == bear and trailing > -rule.leave):
            state = sideways
        found[row] = state
    return found


def regime_table(
    columns: Mapping[str, Floats],
    *,
    regimes: NDArray[np.int8],
    bars_per_year: float,
    rule: RegimeRule | None = None,
) -> RegimeTable:
    """What each policy earned in each regime.

    Args:
        columns: as a holdout's reading has them: returns per bar [K] by policy, `NAME#turnover` beside each.
        regimes: of the rows the bars were decided at [K].
        bars_per_year: of the timeframe.
        rule: that gave `regimes`.
    """
    edges = [0, *(int(row) + 1 for row in np.flatnonzero(np.diff(regimes))), len(regimes)]
    results = []
    for policy in (name for name in columns if not set("@#") & set(name)):
        for place, regime in enumerate(REGIMES):
            inside = regimes == place
            if not inside.any():
                continue
            returns = columns[policy][inside]
            testable = returns.size > 2 and returns.std() > 0
            results.append(
                RegimeResult(
                    policy=policy,
                    regime=regime,
                    bars=returns.size,
                    total_return=total_return(returns),
                    sharpe=annual_sharpe(returns, bars_per_year) if returns.size > 1 else 0.0,
                    standard_error=sharpe_standard_error(returns, bars_per_year) if testable else None,
                    turnover_per_day=float(columns[f"{policy}#turnover"][inside].mean()) * bars_per_year / 365.0,
                )
            )
    return RegimeTable(
        rule=rule or RegimeRule(),
        spells=tuple(
            Spell(regime=REGIMES[regimes[first]], first=first, last=last) for first, last in itertools.pairwise(edges)
        ),
        results=tuple(results),
    )
