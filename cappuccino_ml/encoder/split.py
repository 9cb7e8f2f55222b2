"""Which rows pre-training learns from and which it is judged on: by time, with a gap between."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cappuccino_ml.core import DataError
from cappuccino_ml.features import WARM_UP_BARS

_GAP_SHARE = 0.1  # of the windows: a short span cannot spare the whole memory of the indicators


@dataclass(frozen=True)
class Split:
    """Window rows by time: training, then a gap, then validation."""

    training: Tensor
    validation: Tensor
    gap: int


def split_by_time(bars: int, *, lookback: int, batch_size: int, share: float, most: int) -> Split:
    """Training windows, a gap, and the latest windows for validation; rows are counted from the span's first bar.

    The gap keeps every validation window clear of training bars (lookback) and of the memory of the indicators (300
    bars, but at most a tenth of a short span).

    Args:
        bars: length of the span.
        lookback: L.
        batch_size: the least number of training windows.
        share: of the windows, for validation.
        most: validation windows, evenly spaced where there would be more: neighbours share nearly all their bars.

    Raises:
        DataError: fewer training windows than one batch.
    """
    count = bars - lookback + 1
    gap = lookback + min(WARM_UP_BARS, int(count * _GAP_SHARE))
    held = max(1, round(count * share))
    training = count - held - gap
    if training < batch_size:
        raise DataError(
            f"{bars} bars leave {max(0, training)} training windows (lookback {lookback}, gap {gap}, "
            f"validation {held}), fewer than one batch of {batch_size}; "
            "give a longer span or a smaller batch_size."
        )
    rows = torch.arange(lookback - 1, bars)
    validation = rows[-held:]
    if held > most:
        validation = validation[torch.linspace(0, held - 1, most).long()]
    return Split(training=rows[:training], validation=validation, gap=gap)


def span_of(market: Tensor, first: int, last: int) -> Tensor:
    """Rows first..last of `market` [T, N, F], both included.

    Raises:
        DataError: rows outside the market, or a value that is not finite; names it.
    """
    if not 0 <= first <= last < len(market):
        raise DataError(f"rows {first} to {last} are not within the {len(market)} rows of the market.")
    bars = market[first : last + 1]
    bad = ~torch.isfinite(bars)
    if bad.any():
        row, ticker, feature = bad.nonzero()[0].tolist()
        raise DataError(
            f"feature {feature} of ticker {ticker} is {float(bars[row, ticker, feature])} in row {first + row}, but "
            "pre-training needs finite values; start after the warm-up."
        )
    return bars
