"""The gate: win, inconclusive or reject, each with its numbers and, clause by clause, by how much."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import annual_sharpe, is_flat, require_returns
from cappuccino_ml.verdict.bootstrap import NotTestableError, SharpeTest, paired_sharpe_test, sharpe_interval
from cappuccino_ml.verdict.power import Power, holdout_power
from cappuccino_ml.verdict.superior import SuperiorSet

Floats = NDArray[np.float64]

CASH = "cash"
EQUAL_WEIGHT = "equal_weight"


class GateSettings(Settings):
    """Thresholds of the gate; stored with every verdict."""

    familywise_alpha: float = Field(0.05, gt=0, lt=0.5, description="level of StepM over all trials in clause a")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="level of the one-sided bounds in clause b")
    max_drawdown: float = Field(0.35, gt=0, lt=1, description="largest holdout drawdown, share of peak equity")
    max_turnover_per_day: float = Field(1.0, gt=0, description="largest mean turnover, share of equity a day")
    fee_multiple: float = Field(2.0, ge=1, description="clause c: fees at which the candidate must beat equal weight")
    min_block: int = Field(24, ge=1, description="shortest bootstrap block, bars")
    resamples: int = Field(4999, ge=99, description="bootstrap resamples")


class Clause(Settings):
    """One condition. Clause d has two entries, drawdown and turnover."""

    name: Literal["a", "b", "c", "d"]
    description: str
    value: float | None
    limit: float | None
    passed: bool
    margin: str


class Verdict(Settings):
    """The judgement of one candidate on one holdout."""

    outcome: Literal["win", "inconclusive", "reject"]
    reasons: tuple[str, ...]
    clauses: tuple[Clause, ...]
    incumbent: str
    flat: bool
    test: SharpeTest | None
    power: Power
    bars: int
    bars_per_year: float
    seed: int
    settings: GateSettings

    @property
    def failing(self) -> tuple[Clause, ...]:
        """The clauses that were not met."""
        return tuple(clause for clause in self.clauses if not clause.passed)


def choose_incumbent(*, development: Mapping[str, ArrayLike], bars_per_year: float) -> str:
    """Who is to be beaten where there is no champion: "cash" or "equal_weight", whichever had the better Sharpe.

    Args:
        development: returns of both on the development rows, never on the holdout. A tie goes to cash.
    """
    if set(development) != {CASH, EQUAL_WEIGHT}:
        raise ValueError(
            f"development returns of {sorted(development)} were given; pass those of {CASH} and {EQUAL_WEIGHT}"
        )
    sharpe = {name: annual_sharpe(returns, bars_per_year) for name, returns in development.items()}
    return EQUAL_WEIGHT if sharpe[EQUAL_WEIGHT] > sharpe[CASH] else CASH


def judge(
    *,
    superior: SuperiorSet,
    candidate_trial: int,
    candidate: ArrayLike,
    incumbent: ArrayLike,
    incumbent_name: str,
    candidate_dearer: ArrayLike,
    equal_weight_dearer: ArrayLike,
    drawdown: float,
    turnover_per_day: float,
    bars_per_year: float,
    seed: int,
    settings: GateSettings | None = None,
) -> Verdict:
    """Judge a candidate: its trial on the development folds, its refitted weights on the holdout.

    `win` needs all clauses; `reject` is an upper bound below zero, a flat side or a broken d; the rest is
    `inconclusive`.

    Args:
        superior: StepM over all completed trials of the study, at `settings.familywise_alpha`.
        candidate_trial: number of the trial whose configuration the candidate has.
        candidate: simple net returns per bar [T] on the holdout; the other series have the same bars.
        incumbent: the champion's, or those of the baseline that `choose_incumbent` named.
        incumbent_name: "cash" makes clause b a test of the candidate's own Sharpe.
        candidate_dearer: the candidate's returns at `settings.fee_multiple` times the fees; likewise equal weight's.
        drawdown: the candidate's, share of peak equity in [0, 1].
        turnover_per_day: the candidate's, share of equity.

    Raises:
        ValueError: a series is not finite, or the series differ in length, or cash earned something, or the trials
            were not tested at the level of `settings` or without the candidate's.
    """
    settings = settings or GateSettings()
    ours = require_returns(candidate, what="the candidate's returns")
    theirs = require_returns(incumbent, what="the incumbent's returns")
    dearer = require_returns(candidate_dearer, what="the candidate's returns at dearer fees")
    equal_dearer = require_returns(equal_weight_dearer, what="equal weight's returns at dearer fees")
    lengths = [ours.size, theirs.size, dearer.size, equal_dearer.size]
    if len(set(lengths)) > 1:
        raise ValueError(f"the four series have {lengths} bars; all must cover the same holdout")
    against_cash = incumbent_name == CASH
    if against_cash and theirs.any():
        raise ValueError("the incumbent is cash but its returns are not all zero; name the incumbent that earned them")

    idle = None
    if is_flat(ours):
        idle = "the candidate"
    elif is_flat(theirs) and not against_cash:
        idle = f"the incumbent {incumbent_name}"
    test, obstacle = None, f"{idle} never trades"
    if idle is None:
        test, obstacle = _compare(ours, None if against_cash else theirs, bars_per_year, seed, settings)

    chosen = _clause_a(superior, candidate_trial, settings)
    bound = _clause_b(test, obstacle=obstacle, incumbent_name=incumbent_name, settings=settings)
    dear = _above(
        name="c",
        description=f"holdout Sharpe at {settings.fee_multiple:g} times the fees, above equal weight's",
        value=annual_sharpe(dearer, bars_per_year),
        limit=annual_sharpe(equal_dearer, bars_per_year),
    )
    lost = _at_most("holdout drawdown, share of peak equity", drawdown, settings.max_drawdown)
    traded = _at_most("turnover, share of equity a day", turnover_per_day, settings.max_turnover_per_day)
    clauses = (chosen, bound, dear, lost, traded)

    worse = test is not None and test.upper < 0
    reasons = []
    if idle is not None:
        reasons.append(f"flat: {idle} never trades on the holdout, so there is nothing to compare")
    if test is not None and worse:
        reasons.append(f"worse than {incumbent_name}: the upper {1 - settings.alpha:.0%} bound is {test.upper:.3f}")
    failing = [clause for clause in clauses if not clause.passed]
    reasons += [f"clause {clause.name}: {clause.description}: {clause.margin}" for clause in failing]
    outcome: Literal["win", "inconclusive", "reject"] = "inconclusive"
    if idle is not None or worse or not lost.passed or not traded.passed:
        outcome = "reject"
    elif not failing:
        outcome = "win"
        reasons = [f"clause {clause.name}: {clause.description}: {clause.margin}" for clause in clauses]
    return Verdict(
        outcome=outcome,
        reasons=tuple(reasons),
        clauses=clauses,
        incumbent=incumbent_name,
        flat=idle is not None,
        test=test,
        power=holdout_power(candidate=ours, incumbent=theirs, bars_per_year=bars_per_year, alpha=settings.alpha),
        bars=ours.size,
        bars_per_year=bars_per_year,
        seed=seed,
        settings=settings,
    )


def _compare(
    ours: Floats, theirs: Floats | None, bars_per_year: float, seed: int, settings: GateSettings
) -> tuple[SharpeTest | None, str]:
    """The test of clause b, or None and why the holdout cannot be tested: an answer (inconclusive), not a failure."""
    alpha, min_block, resamples = settings.alpha, settings.min_block, settings.resamples
    try:
        if theirs is None:
            test = sharpe_interval(
                ours, bars_per_year=bars_per_year, seed=seed, alpha=alpha, min_block=min_block, resamples=resamples
            )
        else:
            test = paired_sharpe_test(
                candidate=ours,
                incumbent=theirs,
                bars_per_year=bars_per_year,
                seed=seed,
                alpha=alpha,
                min_block=min_block,
                resamples=resamples,
            )
    except NotTestableError as error:
        return None, str(error)
    return test, ""


def _clause_a(superior: SuperiorSet, trial: int, settings: GateSettings) -> Clause:
    if superior.alpha != settings.familywise_alpha:
        raise ValueError(f"the trials were tested at level {superior.alpha}, not at {settings.familywise_alpha}")
    level, p = settings.familywise_alpha, superior.p_value(trial)
    passed = trial in superior.superior
    margin = f"{'met' if passed else 'not met'} by {abs(level - p):.3f} (p {p:.3f} against at most {level:.3f})"
    return Clause(
        name="a",
        description=f"p-value of trial {trial} in StepM over all {len(superior.trials)} completed trials",
        value=p,
        limit=level,
        passed=passed,
        margin=f"not met: {superior.obstacle}" if superior.obstacle else margin,
    )


def _clause_b(test: SharpeTest | None, *, obstacle: str, incumbent_name: str, settings: GateSettings) -> Clause:
    what = "annual Sharpe" if incumbent_name == CASH else f"annual Sharpe difference to {incumbent_name}"
    description = f"one-sided lower {1 - settings.alpha:.0%} bound of the {what}, above 0"
    if test is None:
        return Clause(
            name="b", description=description, value=None, limit=0.0, passed=False, margin=f"not met: {obstacle}"
        )
    return _above(name="b", description=description, value=test.lower, limit=0.0)


def _above(*, name: Literal["b", "c"], description: str, value: float, limit: float) -> Clause:
    # The sign decides, never the size of the gap: a candidate as different as can be, but worse, fails here.
    passed = value > limit
    margin = f"{'met' if passed else 'not met'} by {abs(value - limit):.3f} ({value:.3f} against {limit:.3f})"
    return Clause(name=name, description=description, value=value, limit=limit, passed=passed, margin=margin)


def _at_most(description: str, value: float, limit: float) -> Clause:
    if not value >= 0.0:
        raise ValueError(f"{description} is {value}; it must be a number of at least 0")
    passed = value <= limit
    margin = f"{'met' if passed else 'broken'} by {abs(limit - value):.3f} ({value:.3f} against at most {limit:.3f})"
    return Clause(name="d", description=description, value=value, limit=limit, passed=passed, margin=margin)
