"""Every policy of a holdout in bull, bear and sideways bars, by the one rule of `regimes`."""

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import Settings
from cappuccino_ml.verdict.regime_scores import RegimeScore, score_regimes
from cappuccino_ml.verdict.regimes import REGIMES, Regime, RegimeRule

Floats = NDArray[np.float64]


class Spell(Settings):
    """An unbroken stretch of one regime: bars first .. last - 1 of the holdout."""

    regime: Regime
    first: int
    last: int


class RegimeResult(Settings):
    """One policy in each regime, net of costs."""

    policy: str
    scores: tuple[RegimeScore, ...]


class RegimeTable(Settings):
    """All policies in all regimes."""

    rule: RegimeRule
    spells: tuple[Spell, ...]
    results: tuple[RegimeResult, ...]


def regime_table(
    columns: Mapping[str, Floats],
    *,
    regimes: NDArray[np.int8],
    rule: RegimeRule,
    bars_per_year: float,
    seed: int,
    resamples: int = 999,
) -> RegimeTable:
    """What each policy earned in each regime.

    Args:
        columns: as a holdout's reading has them: returns per bar [K] by policy, `NAME#turnover` beside each.
        regimes: the one each bar was decided in [K], as indices into `REGIMES`; see `market_regimes`.
        rule: that gave them.
        bars_per_year: of the timeframe.
        seed: of the intervals' bootstrap.
        resamples: of it.
    """
    edges = [0, *(int(row) + 1 for row in np.flatnonzero(np.diff(regimes))), len(regimes)]
    return RegimeTable(
        rule=rule,
        spells=tuple(
            Spell(regime=REGIMES[regimes[first]], first=first, last=last) for first, last in itertools.pairwise(edges)
        ),
        results=tuple(
            RegimeResult(
                policy=policy,
                scores=score_regimes(
                    columns[policy],
                    regimes,
                    bars_per_year=bars_per_year,
                    seed=seed,
                    turnover=columns[f"{policy}#turnover"],
                    resamples=resamples,
                ),
            )
            for policy in columns
            if not set("@#") & set(policy)
        ),
    )
