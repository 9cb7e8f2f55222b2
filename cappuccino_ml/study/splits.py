"""Which rows may be used for what: folds for tuning, one holdout, one paper window, and gaps between all of them.

`development (folds, all tuning) | gap | holdout | gap | paper window`. A span (first, last) means decisions at
close(first) .. close(last - 1), marked up to close(last). Look-back windows reach before `first`, into the gap.
"""

from pydantic import Field

from cappuccino_ml.core import DataError, Settings
from cappuccino_ml.features import WARM_UP_BARS

Span = tuple[int, int]


class Fold(Settings):
    """One walk-forward fold: everything is fitted on `train`, measured on `test`, which lies later."""

    train: Span
    test: Span


class SplitSettings(Settings):
    """How rows are divided."""

    folds: int = Field(2, ge=1)
    holdout_share: float = Field(0.2, gt=0, lt=1, description="of all rows")
    paper_bars: int = Field(168, ge=1, description="last decisions, kept for the paper session")
    max_lookback: int = Field(10, ge=1, description="longest window any agent may look at")
    memory_bars: int = Field(WARM_UP_BARS, ge=1, description="bars after which recursive indicators have forgotten")

    @property
    def gap(self) -> int:
        """Rows left out between two spans: the window and the indicators' memory."""
        return self.max_lookback + self.memory_bars


class Splits(Settings):
    """Row spans of one data set."""

    rows: int
    gap: int
    folds: tuple[Fold, ...]
    development: Span
    holdout: Span
    paper: Span


def make_splits(rows: int, settings: SplitSettings) -> Splits:
    """Divide `rows` bars; the warm-up and the window before the first decision are never decided on.

    Raises:
        DataError: too few rows for the shortest fold to train on.
    """
    gap = settings.gap
    paper = (rows - 1 - settings.paper_bars, rows - 1)
    holdout_last = paper[0] - gap
    holdout_bars = int(rows * settings.holdout_share)
    if holdout_bars < 1:
        share = f"{settings.holdout_share:g} of {rows} bars"
        raise DataError(f"a holdout of {share} is empty; give a longer range of bars.")
    holdout = (holdout_last - holdout_bars, holdout_last)
    development = (max(gap, WARM_UP_BARS + settings.max_lookback), holdout[0] - gap)
    # Equal test blocks over the later half: the first fold trains on about the other half.
    block = (development[1] - development[0]) // (2 * settings.folds)
    if block <= gap:
        needed = 2 * settings.folds * (gap + 1)
        # All but holdout and development is fixed, and the holdout's share is rounded down.
        fixed = rows - holdout_bars - (development[1] - development[0])
        least = int((fixed + needed - 1) / (1 - settings.holdout_share)) + 1
        raise DataError(
            f"{rows} bars leave {max(0, development[1] - development[0])} for development, but {settings.folds} purged "
            f"folds need {needed}; give a longer range of bars, at least {least:,} that all tickers have."
        )
    folds = []
    for index in range(settings.folds):
        test_first = development[1] - (settings.folds - index) * block
        folds.append(Fold(train=(development[0], test_first - gap), test=(test_first, test_first + block)))
    return Splits(rows=rows, gap=gap, folds=tuple(folds), development=development, holdout=holdout, paper=paper)
