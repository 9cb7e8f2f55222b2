"""Asking again: at a fixed schedule, within one deadline, and only where another try may help."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from cappuccino_ml.bars.retries import RetrySettings, Transient, ask_patiently, judge_status, server_time
from cappuccino_ml.core import SourceError

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def failing(*reasons: Transient) -> tuple[Callable[[], str], list[int]]:
    left, asked = list(reasons), [0]

    def ask() -> str:
        asked[0] += 1
        if left:
            raise left.pop(0)
        return "answer"

    return ask, asked


def test_p11_waits_double_up_to_the_longest_and_a_retry_after_is_kept():
    slept: list[float] = []
    ask, asked = failing(*[Transient("HTTP 503")] * 4, Transient("HTTP 429", retry_after_s=40), Transient("HTTP 500"))
    retry = RetrySettings(tries=7, first_wait_s=1, longest_wait_s=5, deadline_s=100)
    assert ask_patiently(ask, what="venue", retry=retry, sleep=slept.append) == "answer"
    assert slept == [1, 2, 4, 5, 40, 5]
    assert asked == [7]


def test_p11_the_tries_are_counted_and_the_last_reason_is_told():
    slept: list[float] = []
    ask, asked = failing(*[Transient("HTTP 503")] * 9)
    with pytest.raises(SourceError, match=r"^venue gave no usable answer in 4 tries within 180 s \(last: HTTP 503\)"):
        ask_patiently(ask, what="venue", retry=RetrySettings(tries=4), sleep=slept.append)
    assert asked == [4]
    assert slept == [1, 2, 4]


def test_p11_no_try_begins_after_the_deadline():
    slept: list[float] = []
    ask, asked = failing(*[Transient("silence")] * 99)
    with pytest.raises(SourceError, match="in 4 tries within 10 s"):
        ask_patiently(ask, what="venue", retry=RetrySettings(tries=99, deadline_s=10), sleep=slept.append)
    assert sum(slept) <= 10
    ask, asked = failing(Transient("HTTP 429", retry_after_s=3600))
    with pytest.raises(SourceError, match=r"in 1 try within 180 s .*asks to wait 3600 s"):
        ask_patiently(ask, what="venue", retry=RetrySettings(), sleep=slept.append)
    assert asked == [1]


@pytest.mark.parametrize("code", [408, 418, 425, 429, 500, 502, 503, 504, 520])
def test_p11_these_statuses_are_worth_another_try(code: int):
    for header, seconds in (("7", 7.0), ("Mon, 01 Jan 2024 00:00:09 GMT", 9.0), ("soon", None), ("-1", None)):
        meaning = judge_status(code, what="venue", headers={"Retry-After": header}, now=NOW)
        assert isinstance(meaning, Transient)
        assert meaning.retry_after_s == seconds


@pytest.mark.parametrize("code", [302, 400, 401, 403, 404, 410, 422, 451])
def test_p11_these_statuses_are_final_and_say_why(code: int):
    meaning = judge_status(code, what="venue", headers={}, now=NOW, said="no\nentry")
    assert isinstance(meaning, SourceError)
    assert str(meaning).startswith(f"venue answered HTTP {code} (no entry): ")


def test_p5_the_servers_time_is_read_from_its_date_header_or_not_at_all():
    assert server_time({"date": "Mon, 01 Jan 2024 05:30:00 GMT"}) == datetime(2024, 1, 1, 5, 30, tzinfo=UTC)
    for unreadable in ("today", "Fri, 31 Dec 9999 23:59:59 -0500", ""):
        assert server_time({"Date": unreadable}) is None
    assert server_time({}) is None
