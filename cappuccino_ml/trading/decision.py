"""Go, no-go or extend: each criterion with its number and its limit, and the thresholds that were in force."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.metrics import annual_sharpe, is_flat, require_returns
from cappuccino_ml.trading.drill import Drill
from cappuccino_ml.trading.record import Faults
from cappuccino_ml.trading.report import Comparison
from cappuccino_ml.verdict.bootstrap import choose_block, required_bars

Outcome = Literal["go", "no-go", "extend"]
_Z95 = 1.959964


class GoSettings(Settings):
    """Thresholds of the decision on a paper session; stored with every decision."""

    max_gap_bps_per_turnover: float = Field(5.0, gt=0, description="return gap to the backtest, either way")
    min_fills: int = Field(10, ge=1)
    min_hours: float = Field(24.0, gt=0, description="shorter sessions are extended")
    due_hours: float = Field(48.0, gt=0, description="from here on only missing fills or a missing drill extend")
    drawdown_level: float = Field(0.95, gt=0, lt=1, description="share of bootstrap paths whose drawdown is smaller")
    sharpe_within: float = Field(0.2, gt=0, description="of the old rule, reported only")
    resamples: int = Field(4999, ge=99)
    min_block: int = Field(24, ge=1, description="bars")
    seed: int = 7


class Criterion(Settings):
    """One line of the decision. `passed` None: it could not be tested."""

    name: str
    value: str
    limit: str
    passed: bool | None
    otherwise: Literal["no-go", "extend", "reported"]  # what it means if it is not met
    note: str = ""

    @property
    def says(self) -> Outcome:
        """What follows from this criterion alone."""
        if self.passed or self.otherwise == "reported":
            return "go"
        return "extend" if self.passed is None else self.otherwise


class Decision(Settings):
    """The decision and everything that it was taken from."""

    outcome: Outcome
    reasons: tuple[str, ...]  # the criteria that stand in the way of a go
    criteria: tuple[Criterion, ...]
    settings: GoSettings

    @property
    def sentence(self) -> str:
        """The outcome and why."""
        met = f"all {sum(one.otherwise != 'reported' for one in self.criteria)} criteria are met"
        return f"{self.outcome}: {'; '.join(self.reasons) or met}"


def decide_session(
    *,
    comparison: Comparison,
    faults: Faults,
    drill: Drill | None,
    reference: ArrayLike,
    bars_per_year: float,
    settings: GoSettings,
) -> Decision:
    """Weigh a session by specification: no-go if a criterion fails, else extend if one cannot be judged yet, else go.

    Args:
        comparison: session beside the backtest of the same bars.
        faults: what its ledger says went wrong.
        drill: how the guards did with this model; None if there was none.
        reference: the backtest's net returns on bars before the session that the model was not fitted on, [T].
        bars_per_year: of all returns.
        settings: thresholds.
    """
    criteria = (
        _zero("no crash", faults.crashes, "starts without a clean stop before them"),
        _gap(comparison, settings),
        _explained(comparison),
        Criterion(
            name="fills",
            value=str(comparison.fills),
            limit=f">= {settings.min_fills}",
            passed=comparison.fills >= settings.min_fills,
            otherwise="extend",
        ),
        _length(comparison, settings),
        _drawdown(comparison, np.asarray(reference, dtype=np.float64), settings),
        _guards(drill),
        _zero("feed never stale", faults.stale, "ticks whose newest bar was stale"),
        *_sharpe(comparison, np.asarray(reference, dtype=np.float64), bars_per_year, settings),
    )
    said = [one.says for one in criteria]
    outcome: Outcome = "no-go" if "no-go" in said else "extend" if "extend" in said else "go"
    reasons = [_reason(one) for one in criteria if one.says != "go"]
    return Decision(outcome=outcome, reasons=tuple(reasons), criteria=criteria, settings=settings)


def drawdown_quantile(reference: ArrayLike, *, bars: int, settings: GoSettings) -> tuple[float, int]:
    """(Drawdown that a share `drawdown_level` of paths of `bars` bars stays below, block length).

    Paths are circular blocks of `reference` (Politis and Romano 1992) of max(min_block, the optimal length) bars.

    Raises:
        ValueError: the reference is shorter than ten blocks, or never moves.
    """
    returns = require_returns(reference, what="the reference's returns")
    needed = required_bars(settings.min_block)
    if returns.size < needed:
        raise ValueError(f"{returns.size} bars before the session, {needed} are needed")
    if is_flat(returns):
        raise ValueError(f"the model never traded in the {returns.size} bars before the session")
    block = choose_block(returns[:, None], min_block=settings.min_block)
    random = np.random.default_rng(settings.seed)
    starts = random.integers(0, returns.size, size=(settings.resamples, math.ceil(bars / block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(len(starts), -1)[:, :bars] % returns.size
    return float(np.quantile(_drawdowns(returns[rows]), settings.drawdown_level)), block


def _drawdowns(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest loss from a peak of each path [R, K] of returns -> [R]."""
    equity = np.concatenate([np.ones((len(paths), 1)), np.cumprod(1.0 + paths, axis=1)], axis=1)
    return np.asarray((1.0 - equity / np.maximum.accumulate(equity, axis=1)).max(axis=1))


def _zero(name: str, count: int, what: str) -> Criterion:
    return Criterion(name=name, value=str(count), limit="0", passed=count == 0, otherwise="no-go", note=what)


def _gap(found: Comparison, settings: GoSettings) -> Criterion:
    limit = settings.max_gap_bps_per_turnover
    return Criterion(
        name="return gap to the backtest of the same bars",
        value=f"{_signed(found.gap_bps_per_turnover)} bps per unit of turnover",
        limit=f"<= {limit:g} bps either way",
        passed=abs(found.gap_bps_per_turnover) <= limit,
        otherwise="no-go",
        note=f"{_signed(1e4 * found.return_gap)} bps over a turnover of {found.turnover:.2f} x equity",
    )


def _explained(found: Comparison) -> Criterion:
    unclear = [one for one in found.deviations if not one.explained]
    return Criterion(
        name="every deviating order explained",
        value=f"{len(unclear)} of {len(found.deviations)} deviating orders unexplained",
        limit="0 unexplained",
        passed=not unclear,
        otherwise="no-go",
        note=unclear[0].sentence if unclear else "",
    )


def _length(found: Comparison, settings: GoSettings) -> Criterion:
    note = f"longer than the {settings.due_hours:g} h after which it is due" if found.hours > settings.due_hours else ""
    return Criterion(
        name="length of the session",
        value=f"{found.hours:g} h",
        limit=f">= {settings.min_hours:g} h, due at {settings.due_hours:g} h",
        passed=found.hours >= settings.min_hours,
        otherwise="extend",
        note=note,
    )


def _drawdown(found: Comparison, reference: NDArray[np.float64], settings: GoSettings) -> Criterion:
    name = f"drawdown within the {settings.drawdown_level:.0%} bootstrap band of its length"
    try:
        worst, block = drawdown_quantile(reference, bars=found.bars, settings=settings)
    except ValueError as error:
        return Criterion(
            name=name,
            value=f"{found.max_drawdown:.2%}",
            limit="no band",
            passed=None,
            otherwise="no-go",
            note=f"not testable: {error}",
        )
    return Criterion(
        name=name,
        value=f"{found.max_drawdown:.2%}",
        limit=f"<= {worst:.2%}",
        passed=found.max_drawdown <= worst,
        otherwise="no-go",
        note=f"{settings.resamples:,} paths of {found.bars} bars in blocks of {block}, out of {reference.size:,} bars",
    )


def _guards(drill: Drill | None) -> Criterion:
    scenarios = drill.scenarios if drill else ()
    failed = [one for one in scenarios if one.passed is False]
    unseen = [one for one in scenarios if one.passed is None]
    shown = sum(one.passed is True for one in scenarios)
    return Criterion(
        name="guards shown by a drill",
        value=f"{shown} of {len(scenarios)} shown" if drill else "no drill",
        limit="all",
        passed=False if failed else None if unseen or not scenarios else True,
        otherwise="no-go",
        note="; ".join(f"{one.name}: {one.seen}" for one in (failed or unseen)[:1]),
    )


def _sharpe(
    found: Comparison, reference: NDArray[np.float64], bars_per_year: float, settings: GoSettings
) -> Sequence[Criterion]:
    """Reported, no clause: a session of two days knows nothing of a Sharpe ratio."""
    low, high = (found.sharpe + sign * _Z95 * found.sharpe_error for sign in (-1, 1))
    before = annual_sharpe(reference, bars_per_year) if reference.size else None
    beside = [("backtest of the same bars", found.backtest_sharpe)]
    beside += [("backtest of the bars before", before)] if before is not None else []
    said = ", ".join(f"{name} {value:+.2f}" for name, value in beside)
    within = abs(found.sharpe - found.backtest_sharpe) <= settings.sharpe_within * abs(found.backtest_sharpe)
    return [
        Criterion(
            name="Sharpe a year beside the backtest's (reported)",
            value=f"{found.sharpe:+.2f}, standard error {found.sharpe_error:.2f}, 95% {low:+.2f} to {high:+.2f}",
            limit="none",
            passed=None,
            otherwise="reported",
            note=f"{said}; the old rule, within {settings.sharpe_within:.0%}, is {'met' if within else 'not met'}",
        )
    ]


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # a rounding error has no sign


def _reason(one: Criterion) -> str:
    note = f" ({one.note})" if one.note else ""
    return f"{one.name}: {one.value}, limit {one.limit}{note}"
