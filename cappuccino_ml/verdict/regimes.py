"""Bull, bear and sideways: a causal rule on the equal-weight market alone.

The trailing 30-day return of equal weight, known when a bar's decision is taken. The distance between entering and
leaving keeps a return near a threshold from changing the regime every hour.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cappuccino_ml.core import Settings

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
