"""Spans of rows: contiguous, in order, and never seen by one another through a window or an indicator's memory."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cappuccino_ml.core import DataError
from cappuccino_ml.features import WARM_UP_BARS
from cappuccino_ml.study import Span, Splits, SplitSettings, make_splits

DEFAULT = SplitSettings()


@st.composite
def split(draw: st.DrawFn) -> tuple[SplitSettings, Splits]:
    """Any settings with enough rows for them."""
    settings = SplitSettings(
        folds=draw(st.integers(1, 5)),
        holdout_share=draw(st.floats(0.01, 0.6)),
        paper_bars=draw(st.integers(1, 500)),
        max_lookback=draw(st.integers(1, 48)),
        memory_bars=draw(st.integers(1, 500)),
    )
    least = fewest_rows(settings)
    return settings, make_splits(draw(st.integers(least, 3 * least)), settings)


def fewest_rows(settings: SplitSettings) -> int:
    """By bisection: more rows are never worse."""
    low, high = 2, 200_000
    while low < high:
        middle = (low + high) // 2
        try:
            make_splits(middle, settings)
            high = middle
        except DataError:
            low = middle + 1
    return low


def decided(span: Span) -> range:
    """Rows at whose close something is decided; the row after the last one is only marked."""
    return range(span[0], span[1])


def touched(span: Span) -> range:
    """Rows whose prices are filled or marked at, or whose features are looked at."""
    return range(span[0], span[1] + 1)


def sources(span: Span, settings: SplitSettings) -> range:
    """Bars that shape what is seen in `span`: its windows, and what their indicators remember."""
    return range(span[0] - (settings.max_lookback - 1) - settings.memory_bars, span[1] + 1)


def apart(one: range, other: range) -> bool:
    return one.stop <= other.start or other.stop <= one.start


@given(split())
def test_defect_07_purge_removes_lookback_and_memory(case: tuple[SplitSettings, Splits]) -> None:
    settings, splits = case
    assert splits.gap == settings.max_lookback + settings.memory_bars
    for fold in splits.folds:
        assert apart(touched(fold.train), sources(fold.test, settings))
        assert apart(sources(fold.train, settings), touched(fold.test))
    for earlier, later in [
        (splits.development, splits.holdout),
        (splits.holdout, splits.paper),
        (splits.development, splits.paper),
    ]:
        assert apart(touched(earlier), sources(later, settings))


@given(split())
def test_defect_01_no_fold_is_spliced(case: tuple[SplitSettings, Splits]) -> None:
    settings, splits = case
    assert len(splits.folds) == settings.folds
    for fold in splits.folds:
        assert splits.development[0] == fold.train[0] < fold.train[1] < fold.test[0] < fold.test[1]
        assert fold.test[1] <= splits.development[1]
        assert len(decided(fold.train)) > 0
    tests = [fold.test for fold in splits.folds]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(tests))
    assert tests[-1][1] == splits.development[1]
    assert len({b - a for a, b in tests}) == 1


@given(split())
def test_holdout_and_paper_window_are_the_last_and_have_their_length(case: tuple[SplitSettings, Splits]) -> None:
    settings, splits = case
    assert splits.paper == (splits.rows - 1 - settings.paper_bars, splits.rows - 1)
    assert splits.holdout[1] - splits.holdout[0] == int(splits.rows * settings.holdout_share) > 0
    assert splits.development[1] < splits.holdout[0]
    assert splits.holdout[1] < splits.paper[0]


@given(split())
def test_no_decision_is_based_on_a_bar_of_the_warm_up(case: tuple[SplitSettings, Splits]) -> None:
    settings, splits = case
    assert splits.development[0] - (settings.max_lookback - 1) >= WARM_UP_BARS


def test_the_default_has_two_years_of_hours_in_good_proportion() -> None:
    splits = make_splits(17_520, DEFAULT)
    assert (splits.gap, len(splits.folds)) == (310, 2)
    assert all(b - a > 2_500 for fold in splits.folds for a, b in (fold.train, fold.test))
    assert splits.holdout[1] - splits.holdout[0] == 3_504


@pytest.mark.parametrize("rows", [2, 300, 1_000, fewest_rows(DEFAULT) - 1])
def test_too_few_rows_are_one_sentence_with_the_way_out(rows: int) -> None:
    with pytest.raises(DataError) as caught:
        make_splits(rows, DEFAULT)
    sentence = str(caught.value)
    assert str(rows) in sentence
    assert "give a longer range" in sentence
    assert "\n" not in sentence


def test_the_number_of_rows_named_in_the_refusal_is_the_number_needed() -> None:
    least = fewest_rows(DEFAULT)
    with pytest.raises(DataError) as caught:
        make_splits(least - 1, DEFAULT)
    numbers = re.search(r"leave (\d+) for development, but 2 purged folds need (\d+);", str(caught.value))
    assert numbers is not None
    for rows in (2, 1_000, least - 1):
        with pytest.raises(DataError, match="longer range of bars") as said:
            make_splits(rows, DEFAULT)
        assert "development" not in str(said.value) or f"at least {least:,} that all tickers have" in str(said.value)
    splits = make_splits(least, DEFAULT)
    assert int(numbers[1]) < int(numbers[2]) == splits.development[1] - splits.development[0]
