"""The feature checker shipped with the library: finite, alive, causal, equal bar by bar, or a list of what is not."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import DataError, SchemaMismatch, Settings
from cappuccino_ml.features.findings import (
    FeatureFinding,
    alive,
    finding,
    finite,
    poisoned,
    same_by_recursion,
    same_past,
    stuck,
)
from cappuccino_ml.features.rates import missing_rates, outlier_rates
from cappuccino_ml.features.recursive import RecursiveFeatures
from cappuccino_ml.features.scaler import Scaler
from cappuccino_ml.features.schema import FEATURES, WARM_UP_BARS, FeatureSchema
from cappuccino_ml.features.stationary import latest_features

_CUTS = (0.25, 0.5, 0.75)  # shares of the history at which the future is deleted
_CAUSALITY_BARS = 20_000  # the newest bars that are replayed; older ones cost one pass
_RECURSIVE_BARS = 2_000  # the newest bars that are computed one by one too
_TRAINING_SHARE = 0.6  # of the rows after the warm-up, for the check of the scaler

Floats = NDArray[np.float64]
FitScaler = Callable[..., Scaler]


class FeatureReport(Settings):
    """What `check_features` found, and what it looked at.

    `missing`: share of values that are not finite per feature, warm-up included. `outliers`: share of the finite values
    after the warm-up that are more than 10 spreads from their ticker's median; the spread is the interquartile range
    over 1.349, or the standard deviation where half of the values are equal (as with breakouts). They are counted,
    not findings: markets have them.

    Finite and moving was checked in all `rows`; deleted and poisoned futures in the last `causality_rows`, and there
    the scaler on `scaler_rows` training rows (0: they do not allow a fit); recursive agreement in the last
    `recursive_rows`.
    """

    rows: int
    findings: tuple[FeatureFinding, ...]
    missing: dict[str, float]
    outliers: dict[str, float]
    causality_rows: int
    recursive_rows: int
    scaler_rows: int

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def too_short(self) -> bool:
        """Whether all that was found is that there are too few bars to judge: no one's fault, time will mend it."""
        return {found.kind for found in self.findings} == {"too_short"}


def check_features(
    panel: BarPanel,
    *,
    compute: Callable[[BarPanel], Floats] = latest_features,
    fit: FitScaler = Scaler.fit,
    stored: FeatureSchema | None = None,
    causality_bars: int = _CAUSALITY_BARS,
) -> FeatureReport:
    """Check features after the warm-up: finite, moving, the same in the recursive form, blind to the future.

    Args:
        panel: bars; more than `WARM_UP_BARS` + 1 rows are needed to judge anything.
        compute: panel -> [T, N, 14]; the library's own features unless a test passes another.
        fit: fits a scaler, called as `Scaler.fit`; the library's own unless a test passes another.
        stored: the schema that a stored table of these features carries; a finding if it is not this code's.
        causality_bars: how many of the newest bars are replayed with the future deleted or replaced.
    """
    features = compute(panel)
    rows = len(panel)
    missing = missing_rates(features)
    findings = [] if stored is None else _same_schema(panel, stored)
    if rows < WARM_UP_BARS + 2:
        message = f"{rows} bars are too few to check features, {WARM_UP_BARS + 2} are needed; widen the window."
        return FeatureReport(
            rows=rows,
            findings=(*findings, finding("too_short", message)),
            missing=missing,
            outliers=dict.fromkeys(FEATURES, 0.0),
            causality_rows=0,
            recursive_rows=0,
            scaler_rows=0,
        )
    findings += [*finite(panel, features), *alive(panel, features), *stuck(panel, features)]
    window = panel.slice(max(0, rows - causality_bars), rows)
    # indicators of a window begin with the window: only its own features may be compared with those of its parts
    whole = features if len(window) == rows else compute(window)
    for share_of_history in _CUTS:
        cut = int(len(window) * share_of_history)
        findings += same_past(window, whole[:cut], compute(window.slice(0, cut)), kind="replay_differs")
    cut = len(window) // 2
    findings += same_past(window, whole[:cut], compute(poisoned(window, cut=cut))[:cut], kind="sees_the_future")
    recent = panel.slice(max(0, rows - _RECURSIVE_BARS), rows)
    batch = features if len(recent) == rows else compute(recent)
    findings += same_by_recursion(recent, batch, RecursiveFeatures(panel.universe).extend(recent))
    train = slice(WARM_UP_BARS, WARM_UP_BARS + int((len(window) - WARM_UP_BARS) * _TRAINING_SHARE))
    try:
        scaler = fit(whole, train)
    except DataError:  # a hole or a dead column, which is named above if it is one
        scaler_rows = 0
    else:
        scaler_rows = train.stop - train.start
        findings += check_scaler(scaler, whole, train, schema=FeatureSchema.of(panel.universe), fit=fit)
    return FeatureReport(
        rows=rows,
        findings=tuple(findings),
        missing=missing,
        outliers=outlier_rates(features[WARM_UP_BARS:]),
        causality_rows=len(window),
        recursive_rows=len(recent),
        scaler_rows=scaler_rows,
    )


def check_scaler(
    scaler: Scaler,
    features: Floats,
    rows: slice | NDArray[np.bool_],
    *,
    schema: FeatureSchema,
    fit: FitScaler = Scaler.fit,
) -> tuple[FeatureFinding, ...]:
    """Check that `scaler` is what the training rows alone give: all other rows are replaced by garbage and it is refit.

    Args:
        scaler: fitted on `rows`, or so it says.
        features: [T, N, F], the array it was fitted on.
        rows: its training rows, a slice or a mask [T].
        schema: names the columns of the findings.
        fit: how it was fitted, called as `Scaler.fit`.

    Returns:
        One finding per ticker and feature whose center or scale differs; none for a sound scaler.

    Raises:
        DataError: the training rows do not allow a fit.
    """
    outside = np.ones(len(features), dtype=np.bool_)
    outside[rows] = False
    garbage = np.array(features, dtype=np.float64)
    garbage[outside] = np.random.default_rng(0).uniform(1e6, 2e6, garbage[outside].shape)
    honest = fit(garbage, rows, clip=scaler.clip)
    found = []
    differs = (np.array(scaler.center) != np.array(honest.center)) | (np.array(scaler.scale) != np.array(honest.scale))
    for ticker, feature in np.argwhere(differs):
        message = (
            f"is scaled by center {scaler.center[ticker][feature]:.6g} and scale {scaler.scale[ticker][feature]:.6g}, "
            f"but with the {outside.sum()} rows outside the training rows replaced by garbage these are "
            f"{honest.center[ticker][feature]:.6g} and {honest.scale[ticker][feature]:.6g}; fit on training rows only."
        )
        found.append(finding("scaler_sees_other_rows", message, schema.tickers[ticker], schema.features[feature]))
    return tuple(found)


def _same_schema(panel: BarPanel, stored: FeatureSchema) -> list[FeatureFinding]:
    try:
        FeatureSchema.of(panel.universe).require_same(stored, what="the stored features table")
    except SchemaMismatch as error:
        return [finding("other_schema", str(error))]
    return []
