"""Combinatorial purged cross-validation of finalists: 6 groups of rows, 2 tested at a time, 15 fits, 5 paths.

Lopez de Prado (2018), "Advances in financial machine learning", chapter 12. Training and test sets are LISTS of
contiguous segments: an episode never crosses a splice.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import DataError, Settings
from cappuccino_ml.study.splits import Span

Floats = NDArray[np.float64]


class CombinatorialSplit(Settings):
    """One fit: everything is fitted on `train` and measured on each segment of `test`, with a fresh book in each."""

    train: tuple[Span, ...]  # contiguous, in order of time
    test_groups: tuple[int, ...]
    test: tuple[Span, ...]  # one per test group
    paths: tuple[int, ...]  # the path that each test segment is a part of


def combinatorial_splits(
    span: Span, *, gap: int, horizon_bars: int = 1, groups: int = 6, test_groups: int = 2
) -> tuple[CombinatorialSplit, ...]:
    """Every choice of `test_groups` of the `groups` equal parts of `span`; the last part takes the remainder.

    Training leaves out `gap` bars before a test segment, because the test's windows and indicators look back into them
    (the purge of the horizon lies within), and `horizon_bars + gap` bars after it: purge and embargo.

    Args:
        span: development rows; (first, last) as in `Splits`.
        gap: lookback + memory of the indicators, the data set's own gap.
        horizon_bars: decision horizon plus reward steps. A decision is rewarded at the next close: 1.
        groups: parts of the span.
        test_groups: parts tested at a time.

    Raises:
        DataError: a group is too short for a gap on both sides.
        ValueError: the numbers of groups make no combinations, or the horizon exceeds the gap.
    """
    if not 1 <= test_groups < groups:
        raise ValueError(f"{test_groups} of {groups} groups cannot be tested; give 1 <= test_groups < groups")
    if not 1 <= horizon_bars <= gap:
        raise ValueError(f"a horizon of {horizon_bars} bars must be at least 1 and at most the gap of {gap}")
    size = (span[1] - span[0]) // groups
    least = 2 * gap + horizon_bars + 1
    if size < least:
        raise DataError(
            f"{span[1] - span[0]} development bars in {groups} groups are {size} a group, but purge and embargo need "
            f"{least}; give a longer range of bars."
        )
    edges = [span[0] + group * size for group in range(groups)] + [span[1]]
    spans = [(edges[group], edges[group + 1]) for group in range(groups)]
    seen = [0] * groups  # how often each group has been tested: its next test belongs to the path of that number
    splits = []
    for chosen in combinations(range(groups), test_groups):
        splits.append(
            CombinatorialSplit(
                train=_train(spans, chosen, before=gap, after=gap + horizon_bars),
                test_groups=chosen,
                test=tuple(spans[group] for group in chosen),
                paths=tuple(seen[group] for group in chosen),
            )
        )
        for group in chosen:
            seen[group] += 1
    return tuple(splits)


def _train(spans: list[Span], chosen: tuple[int, ...], *, before: int, after: int) -> tuple[Span, ...]:
    """Runs of groups that are not tested, shortened where they meet one that is."""
    runs: list[Span] = []
    for group, (first, last) in enumerate(spans):
        if group in chosen:
            continue
        if group - 1 in chosen or group == 0:
            runs.append((first + (after if group else 0), last))
        else:
            runs[-1] = (runs[-1][0], last)
        if group + 1 in chosen:
            runs[-1] = (runs[-1][0], last - before)
    return tuple(runs)


def assemble_paths(splits: tuple[CombinatorialSplit, ...], measured: Mapping[tuple[int, int], Floats]) -> Floats:
    """Returns per bar of the paths [bars, paths]: each path covers every group once, each time by another fit.

    Args:
        splits: as `combinatorial_splits` gives them.
        measured: (index of the split, test group) -> returns per bar on that group.

    Raises:
        ValueError: a test segment has no returns, or not one for each of its bars.
    """
    places = {
        (index, group): (segment, path)
        for index, split in enumerate(splits)
        for group, segment, path in zip(split.test_groups, split.test, split.paths, strict=True)
    }
    if set(places) != set(measured):
        odd = sorted(set(places) ^ set(measured))
        raise ValueError(f"returns of (split, group) {odd} are missing or belong to no test segment; pass all of them")
    first = min(segment[0] for segment, _ in places.values())
    last = max(segment[1] for segment, _ in places.values())
    paths = np.full((last - first, 1 + max(path for _, path in places.values())), np.nan)
    for place, (segment, path) in places.items():
        values = np.asarray(measured[place], dtype=np.float64)
        if values.shape != (segment[1] - segment[0],):
            raise ValueError(f"returns of (split, group) {place} have shape {values.shape}; its segment is {segment}")
        paths[segment[0] - first : segment[1] - first, path] = values
    return paths
