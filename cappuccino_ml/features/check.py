"""The feature checker shipped with the library: finite, alive and causal, or a list of what is not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import Settings
from cappuccino_ml.features.schema import FEATURES, WARM_UP_BARS
from cappuccino_ml.features.stationary import latest_features

_CUTS = (0.25, 0.5, 0.75)  # shares of the history at which the future is deleted
_POISONED_BARS = 200  # rows of garbage after a cut; more would only cost time

Floats = NDArray[np.float64]
Kind = Literal["too_short", "not_finite", "dead", "sees_the_future", "replay_differs"]
_CHANGES = {"replay_differs": "deleted", "sees_the_future": "replaced by garbage"}


class FeatureFinding(Settings):
    """One thing wrong with one feature of one ticker (`ticker` and `feature` are empty if it concerns all)."""

    kind: Kind
    ticker: str
    feature: str
    message: str


class FeatureReport(Settings):
    """What `check_features` found. `missing`: share of values that are not finite per feature, warm-up included."""

    rows: int
    findings: tuple[FeatureFinding, ...]
    missing: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def check_features(panel: BarPanel, *, compute: Callable[[BarPanel], Floats] = latest_features) -> FeatureReport:
    """Check that features are finite after warm-up and alive, and their past bit-identical whatever the future is.

    Args:
        panel: bars; more than `WARM_UP_BARS` + 1 rows are needed to judge anything.
        compute: panel -> [T, N, 14]; the library's own features unless a test passes another.
    """
    features = compute(panel)
    rows = len(panel)
    share = (~np.isfinite(features)).mean(axis=(0, 1)) if rows else np.ones(len(FEATURES))
    missing = dict(zip(FEATURES, share.tolist(), strict=True))
    if rows < WARM_UP_BARS + 2:
        message = f"{rows} bars are too few to check features, {WARM_UP_BARS + 2} are needed; widen the window."
        return FeatureReport(rows=rows, findings=(_finding("too_short", message),), missing=missing)
    findings = [*_finite(panel, features), *_alive(panel, features)]
    for share_of_history in _CUTS:
        cut = int(rows * share_of_history)
        findings += _same_past(panel, features[:cut], compute(panel.slice(0, cut)), kind="replay_differs")
    cut = rows // 2
    findings += _same_past(panel, features[:cut], compute(_poisoned(panel, cut=cut))[:cut], kind="sees_the_future")
    return FeatureReport(rows=rows, findings=tuple(findings), missing=missing)


def _finite(panel: BarPanel, features: Floats) -> list[FeatureFinding]:
    bad = ~np.isfinite(features[WARM_UP_BARS:])
    findings = []
    for ticker, feature in np.argwhere(bad.any(axis=0)):
        column = bad[:, ticker, feature]
        first = panel.timestamps[WARM_UP_BARS + column.argmax()]
        message = f"is not finite in {column.sum()} bars after the warm-up, first at {first}Z."
        findings.append(_finding("not_finite", message, panel.universe.tickers[ticker], FEATURES[feature]))
    return findings


def _alive(panel: BarPanel, features: Floats) -> list[FeatureFinding]:
    used = features[WARM_UP_BARS:]
    findings = []
    for ticker, feature in np.argwhere((used == used[:1]).all(axis=0)):
        message = f"is {used[0, ticker, feature]:g} in all {len(used)} bars after the warm-up."
        findings.append(_finding("dead", message, panel.universe.tickers[ticker], FEATURES[feature]))
    return findings


def _same_past(panel: BarPanel, whole: Floats, other: Floats, *, kind: Kind) -> list[FeatureFinding]:
    """Compare bit by bit; NaN equals NaN."""
    differs = (whole != other) & ~(np.isnan(whole) & np.isnan(other))
    change = f"the future from {panel.timestamps[len(whole)]}Z on is {_CHANGES[kind]}"
    findings = []
    for ticker, feature in np.argwhere(differs.any(axis=0)):
        message = f"changes in {differs[:, ticker, feature].sum()} of {len(whole)} past bars when {change}."
        findings.append(_finding(kind, message, panel.universe.tickers[ticker], FEATURES[feature]))
    return findings


def _poisoned(panel: BarPanel, *, cut: int) -> BarPanel:
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


def _finding(kind: Kind, message: str, ticker: str = "", feature: str = "") -> FeatureFinding:
    subject = f"{feature} of {ticker} " if ticker else ""
    return FeatureFinding(kind=kind, ticker=ticker, feature=feature, message=subject + message)
