"""The pager: whatever a venue does to its pages, the bars are the truth or an error that says what is wrong."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from cappuccino_ml.bars.pager import AskPage, Page, RetrySettings, fetch_pages, silent
from cappuccino_ml.bars.schema import BAR_COLUMNS, TIMESTAMP, empty_bars
from cappuccino_ml.core import DataError, ManualClock, SourceError

HOUR = timedelta(hours=1)
ORIGIN = datetime(2024, 1, 1, tzinfo=UTC)
STEP = 3_600_000
FIRST = int(ORIGIN.timestamp() * 1000)


def row(k: int) -> list[float]:
    """The bar k hours after the origin."""
    return [float(FIRST + k * STEP), 10.0 + k, 12.0 + k, 9.0 + k, 11.0 + k, float(k)]


def frame(rows: list[list[float]]) -> pd.DataFrame:
    if not rows:
        return empty_bars(BAR_COLUMNS)
    made = pd.DataFrame(rows, columns=list(BAR_COLUMNS))
    made["timestamp"] = pd.to_datetime(made["timestamp"].astype("int64"), unit="ms", utc=True).astype(TIMESTAMP)
    return made


def hour(moment: datetime) -> int:
    """Hours from the origin, rounded up."""
    return -((ORIGIN - moment) // HOUR)


class Venue:
    """Bars of some hours; counts its requests, keeps the waits."""

    def __init__(self, hours: set[int], alter: Callable[[list[Any]], list[Any]] = list) -> None:
        self.hours = hours
        self.alter = alter
        self.windows: list[tuple[int, int]] = []
        self.slept: list[float] = []
        self.told: list[str] = []

    def __call__(self, *, since: datetime, until: datetime, limit: int) -> Page:
        self.windows.append((hour(since), hour(until)))
        rows = [row(k) for k in range(hour(since), hour(until)) if k in self.hours]
        assert len(rows) <= limit
        return Page(self.alter(rows), exhausted=True)

    def fetch(
        self, start: int, end: int, *, ask: AskPage | None = None, limit: int = 10, now: float = 10_000, **more: Any
    ):
        retry = more.pop("retry", RetrySettings(tries=3))
        return fetch_pages(
            ask or self,
            venue="venue",
            symbol="BTC-USD",
            bar=HOUR,
            start=ORIGIN + start * HOUR,
            end=ORIGIN + end * HOUR,
            limit=limit,
            clock=ManualClock(ORIGIN + now * HOUR),
            retry=retry,
            sleep=self.slept.append,
            tell=more.pop("tell", self.told.append),
            **more,
        )


@hypothesis.settings(max_examples=300)
@hypothesis.given(
    hours=st.sets(st.integers(0, 79)),
    limit=st.integers(1, 40),
    start=st.integers(-300, 5000),
    length=st.integers(-60, 5000),
    now=st.integers(-60, 6000),
    short=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_p4_any_holes_pages_and_disorder_give_the_truth_in_bounded_requests(
    hours: set[int], limit: int, start: int, length: int, now: int, short: bool, seed: int
):
    # Ten bars in a row on a coarser grid pass for bars of another length.
    apart = np.diff(sorted(hours))
    hypothesis.assume(all(np.gcd.reduce(apart[k : k + 9]) == 1 for k in range(len(apart) - 8)))
    begin, end = ORIGIN + start * timedelta(minutes=1), ORIGIN + (start + length) * timedelta(minutes=1)
    present = ORIGIN + now * timedelta(minutes=1)
    rng = random.Random(seed)
    requests = []

    def ask(*, since: datetime, until: datetime, limit: int) -> Page:
        requests.append(since)
        whole = [row(k) for k in range(hour(since), hour(until)) if k in hours]
        rows = whole[: rng.randint(1, limit)] if short else whole
        stale = [[t, o + 1, h + 1, low + 1, c + 1, 0.0] for t, o, h, low, c, _ in rng.sample(rows, len(rows) // 2)]
        before = [row(k) for k in (hour(since) - 1, hour(since) - 2) if k in hours]
        # Stale forms of a row come before the right one; other rows in any order.
        mixed = stale + rng.sample(rows + before, len(rows + before)) + rows[: rng.randint(0, 3)]
        return Page(mixed, exhausted=rows == whole)

    fetched = fetch_pages(
        ask,
        venue="venue",
        symbol="BTC-USD",
        bar=HOUR,
        start=begin,
        end=end,
        limit=limit,
        clock=ManualClock(present),
        retry=RetrySettings(),
        sleep=lambda seconds: pytest.fail("nothing was wrong"),
        tell=silent,
    )
    wanted = [k for k in sorted(hours) if begin <= ORIGIN + k * HOUR < end and ORIGIN + (k + 1) * HOUR <= present]
    pd.testing.assert_frame_equal(fetched, frame([row(k) for k in wanted]))
    bars = max(0, hour(end) - hour(begin))
    # Of two requests in a row one may end at a hole; together they still get further than one whole window.
    assert len(requests) <= (bars if short else 2 * -(-bars // (limit + 1)))
    assert len(set(requests)) == len(requests)


def test_windows_are_explicit_and_whole_and_an_empty_one_is_stepped_over():
    venue = Venue({*range(7), *range(31, 47)})
    pd.testing.assert_frame_equal(venue.fetch(0, 47), frame([row(k) for k in sorted(venue.hours)]))
    assert venue.windows == [(0, 10), (7, 17), (17, 27), (27, 37), (37, 47)]


def test_nothing_is_asked_where_no_bar_can_have_closed():
    venue = Venue(set(range(50)))
    assert venue.fetch(20, 20).empty
    assert venue.fetch(30, 20).empty
    assert venue.fetch(20, 30, now=20).empty
    assert venue.windows == []
    assert len(venue.fetch(10, 10_000, now=33)) == 23
    assert venue.windows == [(10, 20), (20, 30), (30, 40)]


def at(venue: Venue, hours: float, *, rows: Callable[[list[Any]], list[Any]] = list) -> AskPage:
    """The venue's answers, with a server's time so many hours after the origin."""

    def ask(*, since: datetime, until: datetime, limit: int) -> Page:
        page = venue(since=since, until=until, limit=limit)
        return Page(rows(list(page.rows)), exhausted=True, server_now=ORIGIN + hours * HOUR)

    return ask


@pytest.mark.parametrize(("clock", "server"), [(10.04, 9.97), (9.97, 10.04), (10.04, None)])
def test_p5_a_bar_counts_as_closed_when_it_has_by_the_servers_time_and_by_the_clock(clock: float, server: float | None):
    venue = Venue(set(range(50)))
    fetched = venue.fetch(0, 20, limit=5, now=clock, ask=venue if server is None else at(venue, server))
    assert len(fetched) == (10 if server is None else 9)


def test_p5_the_servers_time_does_not_end_the_walk():
    venue = Venue(set(range(12)))
    assert len(venue.fetch(0, 20, now=11.02, ask=at(venue, 10.97))) == 10
    assert venue.windows == [(0, 10), (10, 20)]


@pytest.mark.parametrize("hours_off", [-24 * 70, -0.1, 0.1, 24 * 365 * 6])
def test_p5_a_servers_time_that_is_not_ours_is_an_error_and_never_no_bars(hours_off: float):
    venue = Venue(set(range(50)))
    with pytest.raises(SourceError, match=r"in 3 tries .*it says it is 20.*, this machine says 2024-01-03T00:00:00Z"):
        venue.fetch(0, 40, now=48, ask=at(venue, 48 + hours_off))
    assert venue.windows == [(0, 10)] * 3
    passing = Venue(set(range(50)))

    def ask(*, since: datetime, until: datetime, limit: int) -> Page:
        off = 0 if passing.windows else hours_off
        return at(passing, 48 + off)(since=since, until=until, limit=limit)

    assert len(passing.fetch(0, 40, now=48, ask=ask)) == 40
    assert len(passing.windows) == 5


def test_p4_rows_from_the_future_make_the_answer_garbage_and_the_forming_bar_does_not():
    venue = Venue(set(range(50)))
    assert len(venue.fetch(0, 10, now=5.5, ask=at(venue, 5.5, rows=lambda rows: rows[:6]))) == 5
    assert venue.fetch(0, 10, now=5, ask=at(venue, 4.99, rows=lambda rows: rows[:6]))["timestamp"].max().hour == 3
    with pytest.raises(SourceError, match=r"1 of 7 rows from the future, such as 2024-01-01T06:00Z at .*T05:30:00Z"):
        venue.fetch(0, 10, now=5.5, ask=at(venue, 5.5, rows=lambda rows: rows[:7]))


@pytest.mark.parametrize("hours", [2, 4, 24])
def test_p4_bars_of_another_length_are_garbage(hours: int):
    venue = Venue(set(range(0, 1000, hours)))
    with pytest.raises(SourceError, match=rf"in 3 tries .*bars {60 * hours} minutes apart where one every 60 was"):
        venue.fetch(0, 1000, limit=1000)
    few = Venue(set(range(0, 9 * hours, hours)), lambda rows: rows * 3)  # may be chance
    assert len(few.fetch(0, 1000, limit=1000)) == 9
    holes = Venue({*range(0, 1000, hours), 1})  # one between them, and they are hours with holes
    assert len(holes.fetch(0, 1000, limit=1000)) == len(holes.hours)


def test_p4_a_page_that_says_it_is_whole_and_ends_early_is_gone_on_from():
    venue = Venue(set(range(100)), lambda rows: rows[:6])
    pd.testing.assert_frame_equal(venue.fetch(0, 20), frame([row(k) for k in range(20)]))
    assert venue.windows == [(0, 10), (6, 16), (12, 20), (18, 20)]
    once = [5]
    cut = Venue(set(range(100)), lambda rows: rows[: -once.pop()] if once else rows)
    assert len(cut.fetch(0, 10, limit=20)) == 10
    assert cut.windows == [(0, 10), (5, 10)]


def test_p4_a_missing_end_costs_one_more_request_and_a_whole_one_none():
    venue = Venue({*range(8), 12})
    assert len(venue.fetch(0, 10)) == 8
    assert venue.windows == [(0, 10), (8, 10)]
    forming = Venue(set(range(13)))  # the window ends later than the newest closed bar
    assert len(forming.fetch(0, 20, limit=20, now=12.5)) == 12
    assert len(forming.fetch(0, 20, limit=20, now=13.5)) == 13
    assert forming.windows == [(0, 20), (0, 20)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([None] * 6, "missing or not finite"),
        ([FIRST, 1, 2, float("inf"), 1, 1], "missing or not finite"),
        ([FIRST, 10, 12, 9, 11], "not six numbers"),
        ([FIRST, 10, 12, 9, "soon", 1], "not six numbers"),
        (None, "not six numbers"),
        ([FIRST + 1, 10, 12, 9, 11, 1], "off the grid"),
        ([FIRST * 1000, 10, 12, 9, 11, 1], "off the grid"),
        ([FIRST, 10, 12, 0, 11, 1], "not above zero"),
        ([FIRST, 10, 12, 10.5, 11, 1], "a low above"),
        ([FIRST, 10, 10.5, 9, 11, 1], "a high below"),
        ([FIRST, 10, 12, 9, 11, -1], "volume below zero"),
    ],
)
def test_p4_one_bad_row_makes_the_answer_garbage_which_is_asked_for_again(bad: Any, reason: str):
    spoilt = [bad]
    venue = Venue(set(range(20)), lambda rows: [*rows, spoilt.pop()] if spoilt else rows)
    assert len(venue.fetch(0, 10)) == 10
    assert venue.windows == [(0, 10), (0, 10)]
    lasting = Venue(set(range(20)), lambda rows: [bad, *rows])
    with pytest.raises(SourceError, match=f"venue, asked for bars of BTC-USD from 2024-01-01T00:00Z, .*{reason}"):
        lasting.fetch(0, 10)
    assert len(lasting.windows) == 3


def test_p4_rows_that_were_not_asked_for_are_left_out():
    venue = Venue(set(range(100)))

    def ask(*, since: datetime, until: datetime, limit: int) -> Page:
        venue.windows.append((hour(since), hour(until)))
        return Page([row(k) for k in range(100)], exhausted=True)

    pd.testing.assert_frame_equal(venue.fetch(17, 33, ask=ask), frame([row(k) for k in range(17, 33)]))
    assert venue.windows == [(17, 27), (27, 33)]


def test_p4_a_revised_row_replaces_the_earlier_one():
    def revised(rows: list[Any]) -> list[Any]:
        return [[t, o, h, low, o, 0.5] for t, o, h, low, _, _ in rows] + rows

    venue = Venue(set(range(20)), revised)
    pd.testing.assert_frame_equal(venue.fetch(0, 20), frame([row(k) for k in range(20)]))


def test_p4_short_pages_are_followed_to_their_end():
    venue = Venue(set(range(100)))

    def ask(*, since: datetime, until: datetime, limit: int) -> Page:
        page = venue(since=since, until=until, limit=limit)
        return Page(page.rows[:3], exhausted=len(page.rows) <= 3)

    assert len(venue.fetch(0, 20, ask=ask)) == 20
    assert [since for since, _ in venue.windows] == [0, 3, 6, 9, 12, 15, 18]


def test_p4_a_cursor_that_repeats_stops_with_the_bars_that_came():
    venue = Venue(set(range(100)))

    def ask(*, since: datetime, until: datetime, limit: int) -> Page:
        venue.windows.append((hour(since), hour(until)))
        return Page([row(k) for k in range(10)], exhausted=False)

    with pytest.raises(SourceError, match=r"from 2024-01-01T10:00Z, sent 10 bars from 2024-01-01T00:00Z to .*T09:00Z"):
        venue.fetch(0, 100, ask=ask)
    assert venue.windows == [(0, 10), (10, 20)]
    with pytest.raises(SourceError, match="sent nothing and did not say"):
        venue.fetch(0, 100, ask=lambda **_: Page([], exhausted=False))


def test_p4_a_venue_that_serves_only_its_newest_rows_names_the_oldest_and_where_else_to_go():
    venue = Venue(set(range(101)))

    def ask(*, since: datetime, until: datetime, limit: int) -> Page:
        venue.windows.append((hour(since), hour(until)))
        return Page([row(k) for k in range(91, 101)], exhausted=True)

    with pytest.raises(
        DataError, match=r"newest 10 bars of BTC-USD, the oldest at 2024-01-04T19:00Z.*binance, coinbase"
    ):
        venue.fetch(0, 100, ask=ask, now=100)
    assert len(venue.windows) == 1
    assert len(venue.fetch(91, 100, ask=ask, now=100)) == 9


def test_progress_is_told_now_and_then_and_holes_at_the_end():
    seconds = iter([0.0, 1.0, 2.0, 6.0, 7.0, 8.0])
    venue = Venue(set(range(50)) - {12, 13, 30})
    venue.fetch(0, 50, monotonic=lambda: next(seconds))
    assert venue.told == [
        "venue BTC-USD: bars to 2024-01-02T06:00Z, 60% of the range",
        "venue BTC-USD: bars that the venue lacks: 3, holes: 2, the longest of 2 from 2024-01-01T12:00Z",
    ]


def test_what_is_not_transient_passes_at_once():
    with pytest.raises(DataError, match="no"):
        Venue(set()).fetch(0, 5, ask=lambda **_: (_ for _ in ()).throw(DataError("no")))
