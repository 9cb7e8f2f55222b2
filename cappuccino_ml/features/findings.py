"""What can be wrong with features, and how each of it is found: one function per kind of finding."""

from dataclasses import replace
from datetime import timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import Settings
from cappuccino_ml.features.schema import FEATURES, WARM_UP_BARS

AGREEMENT = 1e-8  # between the recursive form and the batch, absolute, and relative for values above 1

_POISONED_BARS = 200  # rows of garbage after a cut; more would only cost time
_STRETCH = timedelta(days=30)  # about one partition
# Volume and breakouts may rest while quotes move: a thin venue trades nothing for weeks.
_PRICE_FEATURES = tuple(name for name in FEATURES if name not in ("volume", "range_breakout_volume"))

Floats = NDArray[np.float64]
Kind = Literal[
    "too_short",
    "other_schema",
    "not_finite",
    "dead",
    "stuck",
    "sees_the_future",
    "replay_differs",
    "recursive_differs",
    "scaler_sees_other_rows",
]
_CHANGES = {"replay_differs": "deleted", "sees_the_future": "replaced by garbage"}


class FeatureFinding(Settings):
    """One thing wrong with one feature of one ticker (`ticker` and `feature` are empty if it concerns all)."""

    kind: Kind
    ticker: str
    feature: str
    message: str


def finding(kind: Kind, message: str, ticker: str = "", feature: str = "") -> FeatureFinding:
    """A finding whose message names feature and ticker."""
    subject = f"{feature} of {ticker} " if ticker else ""
    return FeatureFinding(kind=kind, ticker=ticker, feature=feature, message=subject + message)


def finite(panel: BarPanel, features: Floats) -> list[FeatureFinding]:
    """Values [T, N, 14] that are not finite after the warm-up."""
    bad = ~np.isfinite(features[WARM_UP_BARS:])
    findings = []
    for ticker, feature in np.argwhere(bad.any(axis=0)):
        column = bad[:, ticker, feature]
        first = panel.timestamps[WARM_UP_BARS + column.argmax()]
        message = f"is not finite in {column.sum()} bars after the warm-up, first at {first}Z."
        findings.append(finding("not_finite", message, panel.universe.tickers[ticker], FEATURES[feature]))
    return findings


def alive(panel: BarPanel, features: Floats) -> list[FeatureFinding]:
    """Columns that never move in the rows after the warm-up, once there are as many again: breakouts are rare."""
    used = features[WARM_UP_BARS:]
    findings: list[FeatureFinding] = []
    if len(used) < WARM_UP_BARS:
        return findings
    for ticker, feature in np.argwhere((used == used[:1]).all(axis=0)):
        message = f"is {used[0, ticker, feature]:g} in all {len(used)} bars after the warm-up."
        findings.append(finding("dead", message, panel.universe.tickers[ticker], FEATURES[feature]))
    return findings


def stuck(panel: BarPanel, features: Floats) -> list[FeatureFinding]:
    """Columns that rest for 30 days (and at least `WARM_UP_BARS`) although at least half of the closes there move.

    Only features of prices. Columns that never move at all are `alive`'s business.
    """
    stretch = max(_STRETCH // panel.universe.bar, WARM_UP_BARS)
    moves = panel.close[1:] != panel.close[:-1]  # [T - 1, N]
    findings = []
    for name in _PRICE_FEATURES:
        column = FEATURES.index(name)
        values = features[WARM_UP_BARS:, :, column]
        rests = values[1:] == values[:-1]
        for ticker, symbol in enumerate(panel.universe.tickers):
            for first, stop in _runs(rests[:, ticker], at_least=stretch):
                begin, end = WARM_UP_BARS + first, WARM_UP_BARS + stop
                moved = moves[begin:end, ticker].mean()
                if stop - first < len(rests) and moved >= 0.5:
                    message = (
                        f"is {values[first, ticker]:g} in {stop - first + 1} bars from {panel.timestamps[begin]}Z on, "
                        f"while {moved:.0%} of the closes move."
                    )
                    findings.append(finding("stuck", message, symbol, name))
    return findings


def same_past(panel: BarPanel, whole: Floats, other: Floats, *, kind: Kind) -> list[FeatureFinding]:
    """Compare the past `whole` [cut, N, 14] with `other` bit by bit; NaN equals NaN."""
    differs = (whole != other) & ~(np.isnan(whole) & np.isnan(other))
    change = f"the future from {panel.timestamps[len(whole)]}Z on is {_CHANGES[kind]}"
    findings = []
    for ticker, feature in np.argwhere(differs.any(axis=0)):
        message = f"changes in {differs[:, ticker, feature].sum()} of {len(whole)} past bars when {change}."
        findings.append(finding(kind, message, panel.universe.tickers[ticker], FEATURES[feature]))
    return findings


def same_by_recursion(panel: BarPanel, batch: Floats, stream: Floats) -> list[FeatureFinding]:
    """Compare `batch` [T, N, 14] with the recursive form of the same bars, to `AGREEMENT`; NaN equals NaN."""
    apart = np.abs(batch - stream)
    agrees = (apart <= AGREEMENT * np.maximum(1.0, np.abs(stream))) | (np.isnan(batch) & np.isnan(stream))
    findings = []
    for ticker, feature in np.argwhere(~agrees.all(axis=0)):
        column = ~agrees[:, ticker, feature]
        row = int(column.argmax())
        message = (
            f"differs from its recursive form in {column.sum()} of {len(panel)} bars, first at "
            f"{panel.timestamps[row]}Z: {batch[row, ticker, feature]:.12g} and {stream[row, ticker, feature]:.12g}."
        )
        findings.append(finding("recursive_differs", message, panel.universe.tickers[ticker], FEATURES[feature]))
    return findings


def poisoned(panel: BarPanel, *, cut: int) -> BarPanel:
    """The panel up to `cut`, then garbage: valid bars at a thousand times the price that jump about."""
    garbage = panel.slice(0, min(len(panel), cut + _POISONED_BARS))
    noise = np.random.default_rng(0).uniform(500, 2000, garbage.close[cut:].shape)

    def spoil(values: Floats, factor: float) -> Floats:
        return np.concatenate([values[:cut], values[cut:] * noise * factor])

    return replace(
        garbage,
        open=spoil(garbage.open, 1.0),
        high=spoil(garbage.high, 1.5),
        low=spoil(garbage.low, 0.5),
        close=spoil(garbage.close, 1.0),
        volume=spoil(garbage.volume, 7.0),
    )


def _runs(marks: NDArray[np.bool_], *, at_least: int) -> list[tuple[int, int]]:
    """The stretches first..stop-1 of `at_least` or more True in `marks` [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8))).reshape(-1, 2)
    return [(int(first), int(stop)) for first, stop in edges[edges[:, 1] - edges[:, 0] >= at_least]]
