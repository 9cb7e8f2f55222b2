"""Combinatorial purged splits: skfolio's on the same rows; no segment crosses a splice, no two windows share a bar."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV

from cappuccino_ml.core import DataError
from cappuccino_ml.study import CombinatorialSplit, Span, assemble_paths, combinatorial_splits, make_splits
from cappuccino_ml.study.splits import SplitSettings


@st.composite
def case(draw: st.DrawFn) -> dict[str, int]:
    """Any numbers of groups with enough rows for them."""
    groups = draw(st.integers(3, 7))
    gap = draw(st.integers(1, 12))
    horizon = draw(st.integers(1, gap))
    least = groups * (2 * gap + horizon + 1)
    return {
        "first": draw(st.integers(0, 500)),
        "rows": draw(st.integers(least, 2 * least)),
        "gap": gap,
        "horizon_bars": horizon,
        "groups": groups,
        "test_groups": draw(st.integers(2, groups - 1)),
    }


def made(of: dict[str, int]) -> tuple[CombinatorialSplit, ...]:
    rest = {name: of[name] for name in ("gap", "horizon_bars", "groups", "test_groups")}
    return combinatorial_splits((of["first"], of["first"] + of["rows"]), **rest)


def rows(spans: tuple[Span, ...]) -> list[int]:
    return [row for first, last in spans for row in range(first, last)]


@given(case())
def test_the_splits_are_skfolios(of: dict[str, int]) -> None:
    oracle = CombinatorialPurgedCV(
        n_folds=of["groups"], n_test_folds=of["test_groups"], purged_size=of["gap"], embargo_size=of["horizon_bars"]
    )
    splits = made(of)
    assert len(splits) == oracle.n_splits
    expected = oracle.split(np.zeros((of["rows"], 1)))
    for split, (train, tests), paths in zip(splits, expected, oracle.get_path_ids(), strict=True):
        assert rows(split.train) == (train + of["first"]).tolist()
        assert [rows((span,)) for span in split.test] == [(test + of["first"]).tolist() for test in tests]
        assert split.paths == tuple(paths.tolist())


@given(case())
def test_defect_01_no_segment_crosses_a_splice(of: dict[str, int]) -> None:
    for split in made(of):
        for spans in (split.train, split.test):
            assert all(first < last for first, last in spans)
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
        # Two training segments are apart: if they touched, they would be one.
        assert all(one[1] < other[0] for one, other in itertools.pairwise(split.train))


@given(case(), st.data())
def test_defect_07_no_training_window_and_no_test_window_share_a_bar(of: dict[str, int], data: st.DataObject) -> None:
    lookback = data.draw(st.integers(1, of["gap"]))
    memory = of["gap"] - lookback

    def sources(span: Span) -> set[int]:
        """Bars that shape what is seen and earned in `span`, the indicators' memory and the last mark included."""
        return set(range(span[0] - (lookback - 1) - memory, span[1] + 1))

    def touched(span: Span) -> set[int]:
        return set(range(span[0], span[1] + 1))

    for split in made(of):
        for train in split.train:
            for test in split.test:
                assert not touched(train) & sources(test)
                assert not sources(train) & touched(test)


@given(case())
def test_every_group_is_tested_once_in_each_path(of: dict[str, int]) -> None:
    splits = made(of)
    paths = math.comb(of["groups"] - 1, of["test_groups"] - 1)
    marked = {
        (index, group): np.full(last - first, 1000.0 * index + group)
        for index, split in enumerate(splits)
        for group, (first, last) in zip(split.test_groups, split.test, strict=True)
    }
    assembled = assemble_paths(splits, marked)
    assert assembled.shape == (of["rows"], paths)
    assert np.isfinite(assembled).all()
    size = of["rows"] // of["groups"]
    groups = np.minimum(np.arange(of["rows"]) // size, of["groups"] - 1)
    assert (assembled % 1000 == groups[:, None]).all()
    # Within a group the paths come from different fits.
    assert all(len(set(row)) == paths for row in assembled.tolist())


def test_six_groups_two_at_a_time_are_fifteen_fits_and_five_paths() -> None:
    development = make_splits(17_520, SplitSettings()).development
    splits = combinatorial_splits(development, gap=310)
    assert len(splits) == 15
    assert {path for split in splits for path in split.paths} == set(range(5))
    trained = [len(rows(split.train)) / (development[1] - development[0]) for split in splits]
    assert min(trained) > 0.45
    assert splits[0].test_groups == (0, 1)
    assert splits[0].train == ((splits[0].test[1][1] + 311, development[1]),)


def test_too_few_rows_are_one_sentence_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"in 6 groups are 621 a group, but purge and embargo need 622; give a longer"):
        combinatorial_splits((300, 300 + 6 * 621), gap=310)
    assert combinatorial_splits((300, 300 + 6 * 622), gap=310)


def test_settings_that_make_no_combinations_are_refused() -> None:
    with pytest.raises(ValueError, match="6 of 6 groups"):
        combinatorial_splits((0, 10_000), gap=10, test_groups=6)
    with pytest.raises(ValueError, match="horizon of 11 bars"):
        combinatorial_splits((0, 10_000), gap=10, horizon_bars=11)


def test_paths_need_the_returns_of_every_test_segment() -> None:
    splits = combinatorial_splits((0, 600), gap=5)
    measured = {(i, group): np.zeros(100) for i, split in enumerate(splits) for group in split.test_groups}
    with pytest.raises(ValueError, match=r"\[\(3, 4\)\] are missing"):
        assemble_paths(splits, {place: values for place, values in measured.items() if place != (3, 4)})
    with pytest.raises(ValueError, match=r"\(3, 4\) have shape \(99,\)"):
        assemble_paths(splits, measured | {(3, 4): np.zeros(99)})
