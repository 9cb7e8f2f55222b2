"""Of one symbol in one month: what the source has answered for, which bars are missing there, what is left to ask."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cappuccino_ml.bars.schema import BAR_COLUMNS, times, to_datetime, to_datetime64
from cappuccino_ml.bars.universe import Universe

OVERLAP_BARS = 24  # the newest bars are asked for again: exchanges still revise them and deliver some of them late
Range = tuple[datetime, datetime]  # opens of bars in [start, stop), UTC


class Gap(NamedTuple):
    """Bars that the source was asked for and does not have."""

    first: datetime  # open of the first missing bar
    bars: int


@dataclass(frozen=True)
class SymbolMonth:
    """What the lake knows of a symbol in a month.

    Args:
        bars: those of the month, sorted: columns timestamp, open, high, low, close, volume.
        answered: the stretch that the source has answered for for good; None before there is one.
        before: open of its last bar in an earlier month; None if it was not listed then.
        after: open of its first bar in a later month.
    """

    bars: pd.DataFrame
    answered: Range | None
    before: datetime | None = None
    after: datetime | None = None

    def wanted(self, span: Range, universe: Universe, *, refresh: bool = False) -> list[Range]:
        """What to ask for so that all of `span` has been asked for, in order and without overlap.

        `answered` stays one stretch: what lies between it and a `span` that does not touch it is asked for too.
        Inside `answered` a hole is the source's word and not asked about again, unless it is too long to fill: the
        audit refuses it, so a person may have had it repaired. Before a symbol's first bar ever nothing is a hole.
        """
        begin, end = span
        if begin >= end:
            return []
        if self.answered is None:
            return [span]
        start, stop = self.answered
        if refresh:
            return [(min(begin, start), max(end, stop))]
        longest = universe.fill_cap_bars * universe.bar
        ranges = [
            (max(first, start, begin), min(after, stop))
            for first, after in self._holes(end=self.after or stop, bar=universe.bar)
            if after - first > longest and first < stop and after > max(start, begin)
        ]
        if begin < start:
            ranges.append((begin, start))
        if stop < end:
            ranges.append((max(min(stop, self._edge(universe)), min(start, begin)), end))
        return _joined(ranges)

    def gaps(self, bar: timedelta) -> list[Gap]:
        """The holes inside `answered`, in order."""
        if self.answered is None:
            return []
        start, stop = self.answered
        clipped = [(max(first, start), min(after, stop)) for first, after in self._holes(end=stop, bar=bar)]
        return [Gap(first, (after - first) // bar) for first, after in clipped if first < after]

    def learn(self, bars: pd.DataFrame, *, asked: Range, settled: datetime) -> "SymbolMonth":
        """With `bars` in place of those stored, after `asked` was answered; bars from `settled` on may still change."""
        start, stop = asked[0], min(asked[1], settled)
        if self.answered is not None:
            start, stop = min(start, self.answered[0]), max(stop, self.answered[1])
        return replace(self, bars=bars, answered=(start, stop) if start < stop else None)

    def _edge(self, universe: Universe) -> datetime:
        """`OVERLAP_BARS` before the end of the newest bar, wherever a source's clock or a file ended last time."""
        if self.bars.empty:
            return datetime.max.replace(tzinfo=UTC)
        return to_datetime(times(self.bars)[-1]) + (1 - OVERLAP_BARS) * universe.bar

    def _holes(self, *, end: datetime, bar: timedelta) -> list[Range]:
        """Stretches without bars, from the last bar before the month up to `end`."""
        edges = [times(self.bars), np.array([to_datetime64(end)])]
        if self.before is not None:
            edges.insert(0, np.array([to_datetime64(self.before)]))
        opens: NDArray[np.datetime64] = np.concatenate(edges)
        step = np.timedelta64(bar, "us")
        return [
            (to_datetime(opens[row] + step), to_datetime(opens[row + 1]))
            for row in np.flatnonzero(np.diff(opens) > step)
        ]


def _joined(ranges: list[Range]) -> list[Range]:
    joined: list[Range] = []
    for first, stop in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return joined


class Change(NamedTuple):
    """What an answer did to the stored bars."""

    bars: pd.DataFrame  # stored and answered together, the answer's where both have a time
    added: int  # how many are new
    revised: list[dict[str, Any]]  # timestamp, old and new values of those that had other values
    first: datetime | None  # open of the earliest bar that is new or revised


def take_in(old: pd.DataFrame, fresh: pd.DataFrame) -> Change:
    """Lay `fresh` over `old`, both sorted and each time once. A stored bar that `fresh` lacks stays."""
    if fresh.empty:
        return Change(old, 0, [], None)
    values = list(BAR_COLUMNS[1:])
    shared, in_old, in_fresh = np.intersect1d(times(old), times(fresh), assume_unique=True, return_indices=True)
    before, after = old[values].to_numpy()[in_old], fresh[values].to_numpy()[in_fresh]
    rows = np.flatnonzero((before != after).any(axis=1))
    revised = [
        {
            "timestamp": f"{np.datetime_as_string(shared[row], unit='s')}Z",
            "old": before[row].tolist(),
            "new": after[row].tolist(),
        }
        for row in rows
    ]
    added = np.setdiff1d(times(fresh), shared, assume_unique=True)
    changed = np.concatenate([added, shared[rows]])
    kept = old[~np.isin(times(old), shared)]
    both = fresh if kept.empty else pd.concat([kept, fresh], ignore_index=True)
    return Change(
        bars=both.sort_values("timestamp", ignore_index=True),
        added=len(added),
        revised=revised,
        first=to_datetime(changed.min()) if len(changed) else None,
    )
