"""What an update asks the source for: what it has not answered for yet, the newest bars again, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cappuccino_ml.bars import BARS_COLUMNS, Universe, audit_bars, bars_table, ingest_month, read_bars, read_panel
from cappuccino_ml.bars.answered import OVERLAP_BARS
from cappuccino_ml.core import SourceError
from cappuccino_ml.lake import LakeTable

TRIO = Universe(tickers=("BTC", "ETH", "UNI"))
HOUR = timedelta(hours=1)
LATER = datetime(2024, 6, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def hours(symbol: str, first: str, count: int) -> set[tuple[str, datetime]]:
    return {(symbol, at(first) + step * HOUR) for step in range(count)}


@pytest.fixture
def source(make_shelf: Any) -> Any:
    return make_shelf()


@pytest.fixture
def table(tmp_path: Path, source: Any) -> LakeTable:
    return bars_table(tmp_path, source=source, universe=TRIO)


def ingest(source: Any, table: LakeTable, month: str = "2024-02", *, now: datetime = LATER, **more: Any) -> Any:
    source.calls.clear()
    return ingest_month(source, table, TRIO, month, now=now, **more)


def stamps(table: LakeTable) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in table.folder.iterdir()}


def test_a_complete_month_costs_no_request_and_no_write(source: Any, table: LakeTable):
    ingest(source, table)
    before = stamps(table)
    assert not ingest(source, table)["written"]
    assert source.calls == []
    assert stamps(table) == before


def test_the_newest_bars_are_asked_for_again_over_the_turn_of_the_month_until_they_are_a_day_old(
    source: Any, table: LakeTable
):
    last, settled = ("BTC-USD", at("2024-02-29T23:00")), at("2024-03-02T00:00")
    source.absent = {last}
    ingest(source, table, now=at("2024-03-01T00:03"))
    source.absent = set()
    facts = ingest(source, table, now=at("2024-03-01T01:03"))
    assert (facts["new_rows"], facts["changed_from"]) == (1, "2024-02-29T23:00:00+00:00")
    source.close[last] = 3.0
    assert ingest(source, table, now=settled)["revisions"] == 1
    ingest(source, table, now=settled + HOUR)
    assert source.calls == []


def test_an_hourly_update_asks_each_symbol_once_for_a_day_and_an_hour(source: Any, table: LakeTable):
    now = at("2024-02-20T05:03")
    ingest(source, table, now=now)
    ingest(source, table, now=now + HOUR)
    start, end = at("2024-02-20T06:00") - (OVERLAP_BARS + 1) * HOUR, at("2024-02-20T06:00")
    assert source.calls == [(symbol, start, end) for symbol in TRIO.symbols]


def test_a_leading_hole_and_a_month_before_the_listing_are_answered_once(source: Any, table: LakeTable):
    source.absent = hours("UNI-USD", "2024-01-01T00:00", (31 + 9) * 24)
    for month in ("2024-01", "2024-02"):
        facts = ingest(source, table, month)
        assert [call[0] for call in source.calls] == list(TRIO.symbols)
        assert facts["gaps"] == []  # not listed is not a gap
        assert not ingest(source, table, month)["written"]
        assert source.calls == []
    assert facts["range_by_symbol"]["UNI-USD"] == ["2024-02-10T00:00:00+00:00", "2024-02-29T23:00:00+00:00"]


def test_a_month_without_any_bar_is_remembered_as_an_empty_partition(source: Any, table: LakeTable):
    source.absent = {key for symbol in TRIO.symbols for key in hours(symbol, "2024-01-01T00:00", 31 * 24)}
    assert ingest(source, table, "2024-01")["written"]
    ingest(source, table, "2024-01")
    assert source.calls == []
    empty = table.read("2024-01")
    assert (tuple(empty.columns), len(empty)) == (BARS_COLUMNS, 0)
    ingest(source, table, "2024-02")
    pd.testing.assert_frame_equal(read_bars(table), table.read("2024-02"))
    assert len(read_panel(table, TRIO)) == 29 * 24


def test_a_short_hole_is_the_sources_word_and_only_a_refresh_asks_again(source: Any, table: LakeTable):
    source.absent = hours("ETH-USD", "2024-02-11T03:00", 2)
    facts = ingest(source, table)
    assert facts["gaps"] == [{"symbol": "ETH-USD", "first": "2024-02-11T03:00:00+00:00", "bars": 2}]
    source.absent = set()
    assert not ingest(source, table)["written"]
    facts = ingest(source, table, refresh=True)
    assert (facts["new_rows"], facts["changed_from"], facts["gaps"]) == (2, "2024-02-11T03:00:00+00:00", [])


@pytest.mark.parametrize(
    ("first", "months", "supplied"),
    [
        ("2024-02-11T03:00", ["2024-02"], [9, 0]),
        ("2024-02-29T15:00", ["2024-02"], [9, 0]),  # up to the end of the month
        # Over the turn, four hours and five: with the four supplied, the five may be filled and are the source's word.
        ("2024-02-29T20:00", ["2024-02", "2024-03"], [4, 0]),
        ("2024-03-01T00:00", ["2024-03"], [0, 9]),  # from the first hour on, of a symbol that was listed before
    ],
)
def test_a_hole_that_the_audit_refuses_is_asked_for_again_until_it_is_supplied(
    source: Any, table: LakeTable, first: str, months: list[str], supplied: list[int]
):
    source.absent = hours("ETH-USD", first, 9)
    for month in ("2024-02", "2024-03"):
        ingest(source, table, month)
    assert [(error.kind, error.bars) for error in audit_bars(read_bars(table), TRIO).errors] == [("hole", 9)]
    before = stamps(table)
    for month in ("2024-02", "2024-03"):
        assert not ingest(source, table, month)["written"]
        assert {call[0] for call in source.calls} == ({"ETH-USD"} if month in months else set())
        assert sum((end - start) / HOUR for _, start, end in source.calls) <= 9
    assert stamps(table) == before
    source.absent = set()
    assert [ingest(source, table, month)["new_rows"] for month in ("2024-02", "2024-03")] == supplied
    assert audit_bars(read_bars(table), TRIO).passed
    assert [ingest(source, table, month)["asked"] for month in ("2024-02", "2024-03")] == [{}, {}]


def test_a_source_without_an_end_is_asked_up_to_the_last_closed_bar(source: Any, table: LakeTable):
    assert source.coverage(TRIO)[1] is None
    facts = ingest(source, table, now=at("2024-02-03T04:59"), window=(at("2024-02-02T00:00"), None))
    assert facts["range_by_symbol"]["BTC-USD"] == ["2024-02-02T00:00:00+00:00", "2024-02-03T03:00:00+00:00"]


def test_what_a_failing_source_had_answered_is_kept_and_only_the_rest_is_asked_for_later(source: Any, table: LakeTable):
    source.fails_for = {"ETH-USD"}
    with pytest.raises(SourceError, match="while ETH-USD was asked for"):
        ingest(source, table)
    assert [call[0] for call in source.calls] == ["BTC-USD", "ETH-USD"]  # and it is not asked further
    assert set(table.read("2024-02")["symbol"]) == {"BTC-USD"}
    source.fails_for = set()
    facts = ingest(source, table)
    assert [call[0] for call in source.calls] == ["ETH-USD", "UNI-USD"]
    assert facts["rows_by_symbol"] == dict.fromkeys(TRIO.symbols, 29 * 24)
    source.fails_for = {"BTC-USD"}
    with pytest.raises(SourceError):
        ingest(source, table, "2024-03")
    assert list(table.partitions) == ["2024-02"]


def test_progress_is_told_once_per_request(source: Any, table: LakeTable):
    lines: list[str] = []
    ingest(source, table, tell=lines.append)
    assert lines[0] == "2024-02 BTC-USD: 696 bars, 2024-02-01T00:00Z to 2024-03-01T00:00Z"
    assert len(lines) == 3
    ingest(source, table, tell=lines.append)
    assert len(lines) == 3


def test_windows_that_do_not_touch_become_one_stretch(source: Any, table: LakeTable):
    ingest(source, table, window=(at("2024-02-03T00:00"), at("2024-02-05T00:00")))
    ingest(source, table, window=(at("2024-02-10T00:00"), at("2024-02-12T00:00")))
    assert table.partitions["2024-02"].meta["answered"]["BTC-USD"] == [
        "2024-02-03T00:00:00+00:00",
        "2024-02-12T00:00:00+00:00",
    ]
    assert table.partitions["2024-02"].rows == 3 * 9 * 24
    ingest(source, table, window=(at("2024-02-01T12:30"), at("2024-02-04T00:00")))
    assert source.calls == [(symbol, at("2024-02-01T13:00"), at("2024-02-03T00:00")) for symbol in TRIO.symbols]


def test_a_clock_that_goes_back_takes_nothing_away(source: Any, table: LakeTable):
    now = at("2024-02-20T05:00")
    ingest(source, table, now=now)
    before = stamps(table)
    assert not ingest(source, table, now=now - timedelta(days=3))["written"]
    assert stamps(table) == before


def test_a_month_stored_before_answers_were_recorded_is_asked_for_once_more(source: Any, table: LakeTable):
    ingest(source, table)
    table.write("2024-02", table.read("2024-02"), meta={"revisions": 1, "revised": [{"symbol": "BTC-USD"}]})
    facts = ingest(source, table)
    assert (facts["written"], facts["new_rows"], len(source.calls)) == (True, 0, 3)
    assert table.partitions["2024-02"].meta["revisions"] == 1
    assert not ingest(source, table)["written"]
    assert source.calls == []


def test_where_a_source_ended_long_ago_and_goes_on_later_its_last_day_is_asked_for_again(source: Any, table: LakeTable):
    source.end = at("2024-02-10T00:00")
    ingest(source, table)
    assert ingest(source, table)["asked"] == {}
    source.end = at("2024-02-11T00:00")
    source.close["BTC-USD", at("2024-02-09T01:00")] = 3.0
    facts = ingest(source, table)
    assert (facts["new_rows"], facts["revisions"]) == (3 * 24, 1)
    assert source.calls == [(symbol, at("2024-02-09T00:00"), source.end) for symbol in TRIO.symbols]
