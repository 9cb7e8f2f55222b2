"""Ingest asks for what is missing, records revisions, and stores closed bars only."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import (
    BARS_COLUMNS,
    SimulatedSource,
    Universe,
    bars_table,
    ingest_month,
    months_between,
    read_bars,
    read_panel,
)
from cappuccino_ml.bars.ingest import OVERLAP_BARS
from cappuccino_ml.core import DataError, LakeError
from cappuccino_ml.lake import MANIFEST, LakeTable

PAIR = Universe(tickers=("BTC", "ETH"))
START, END = datetime(2024, 1, 10, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


class Counting:
    """The simulated exchange, with a count of bars served, a hand that revises them, and a lag if it has a clock."""

    name = "simulated"
    label = "simulated"

    def __init__(self) -> None:
        self.market = SimulatedSource(start=START, end=END)
        self.served = 0
        self.revised: dict[tuple[str, pd.Timestamp], float] = {}
        self.sends_more_than_asked = False
        self.now = LATER
        self.late = timedelta(0)  # bars are delivered only when they have been closed for so long ...
        self.unsure = timedelta(0)  # ... and are revised once more when they have been closed for so long

    def identity(self) -> dict[str, Any]:
        return self.market.identity()

    def coverage(self, universe: Universe) -> tuple[datetime, datetime]:
        return self.market.coverage(universe)

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        if self.sends_more_than_asked:
            start, end = start - timedelta(hours=5), end + timedelta(hours=5)
        bars = self.market.fetch(symbol=symbol, universe=universe, start=start, end=end)
        age = self.now - (bars["timestamp"] + PAIR.bar)
        bars.loc[age < self.unsure, "close"] *= 1.0001
        bars = bars[age >= self.late]
        self.served += len(bars)
        for (name, stamp), close in self.revised.items():
            if name == symbol:
                bars.loc[bars["timestamp"] == stamp, "close"] = close
        return bars.sample(frac=1, random_state=3)


@pytest.fixture
def source() -> Counting:
    return Counting()


@pytest.fixture
def table(tmp_path: Path, source: Counting) -> LakeTable:
    return bars_table(tmp_path, source=source, universe=PAIR)


def ingest(source: Counting, table: LakeTable, month: str = "2024-02", **more: Any) -> dict[str, Any]:
    return ingest_month(source, table, PAIR, month, **{"now": LATER} | more)


def test_a_month_holds_exactly_its_bars(source: Counting, table: LakeTable):
    facts = ingest(source, table)
    stored = table.read("2024-02")
    assert tuple(stored.columns) == BARS_COLUMNS
    assert facts["written"]
    assert facts["rows"] == facts["new_rows"] == len(stored) == source.served
    assert stored["timestamp"].min() >= pd.Timestamp("2024-02-01", tz="UTC")
    assert stored["timestamp"].max() == pd.Timestamp("2024-02-29T23:00", tz="UTC")
    assert not stored.duplicated(["symbol", "timestamp"]).any()


def test_a_complete_month_asks_for_nothing_and_writes_nothing(source: Counting, table: LakeTable):
    ingest(source, table)
    before = {path.name: path.stat().st_mtime_ns for path in table.folder.iterdir() if path.name != ".lock"}
    source.served = 0
    facts = ingest(source, table)
    assert (facts["written"], facts["asked"], facts["changed_from"], source.served) == (False, {}, None, 0)
    assert before == {path.name: path.stat().st_mtime_ns for path in table.folder.iterdir() if path.name != ".lock"}


def test_an_update_asks_for_the_new_hours_and_a_day_before_them_only(source: Counting, table: LakeTable):
    now = datetime(2024, 2, 20, 5, 30, tzinfo=UTC)
    ingest(source, table, now=now)
    source.served = 0
    facts = ingest(source, table, now=now + timedelta(hours=3))
    assert facts["new_rows"] == 6
    assert source.served <= 2 * (OVERLAP_BARS + 3)


@pytest.mark.parametrize("minute", [0, 1, 59])
def test_the_forming_bar_is_never_stored(source: Counting, table: LakeTable, minute: int):
    source.sends_more_than_asked = True
    ingest(source, table, now=datetime(2024, 2, 20, 5, minute, tzinfo=UTC))
    assert table.read("2024-02")["timestamp"].max() == pd.Timestamp("2024-02-20T04:00", tz="UTC")


def test_rows_outside_month_and_window_are_not_stored(source: Counting, table: LakeTable):
    source.sends_more_than_asked = True
    window = (datetime(2024, 2, 3, tzinfo=UTC), datetime(2024, 2, 5, tzinfo=UTC))
    ingest(source, table, window=window)
    assert len(table.read("2024-02")["timestamp"].unique()) == 48
    wider = ingest(source, table, window=(datetime(2024, 2, 2, tzinfo=UTC), window[1]))
    assert wider["new_rows"] == 48
    assert not ingest(source, table, window=(datetime(2024, 5, 2, tzinfo=UTC), LATER))["written"]


def nightly(source: Counting, table: LakeTable) -> datetime:
    """Thirty-eight nights at different hours, over two turns of the month; the last night's moment."""
    for night in range(38):
        source.now = datetime(2024, 1, 28, tzinfo=UTC) + timedelta(days=night, minutes=(night * 397) % 1300)
        for month in sorted({f"{source.now - timedelta(days=2):%Y-%m}", f"{source.now:%Y-%m}"}):
            ingest(source, table, month, now=source.now)
    return source.now


def contents(table: LakeTable) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in table.folder.iterdir() if path.name != ".lock"}


def backfill(root: Path, source: Counting, now: datetime) -> LakeTable:
    table = bars_table(root, source=source, universe=PAIR)
    for month in ("2024-01", "2024-02", "2024-03"):
        ingest(source, table, month, now=now)
    return table


@pytest.mark.parametrize("late", [timedelta(0), timedelta(hours=3)], ids=["prompt", "late"])
def test_a_month_of_nightly_updates_equals_one_backfill_byte_for_byte(
    tmp_path: Path, source: Counting, table: LakeTable, late: timedelta
):
    source.late = late
    now = nightly(source, table)
    at_once = backfill(tmp_path / "other", source, now)
    assert contents(table) == contents(at_once)
    assert table.read("2024-02")["timestamp"].nunique() > 28 * 24


def test_nightly_updates_of_an_exchange_that_revises_differ_from_a_backfill_in_the_record_of_revisions_only(
    tmp_path: Path, source: Counting, table: LakeTable
):
    source.late, source.unsure = timedelta(minutes=50), timedelta(hours=7)
    at_once = backfill(tmp_path / "other", source, nightly(source, table))
    ours, theirs = contents(table), contents(at_once)
    records = []
    for files in (ours, theirs):
        manifest = json.loads(files.pop(MANIFEST))
        partitions = manifest["partitions"].values()
        records.append([(entry["meta"].pop("revisions"), entry["meta"].pop("revised")) for entry in partitions])
        files[MANIFEST] = json.dumps(manifest).encode()
    assert ours == theirs
    assert [count > 0 for count, _ in records[0]] == [True, True, True]
    assert records[1] == [(0, [])] * 3


def test_a_revised_bar_replaces_the_stored_one_and_is_recorded(source: Counting, table: LakeTable):
    ingest(source, table)
    stamp = pd.Timestamp("2024-02-10T07:00", tz="UTC")
    source.revised[("ETH-USD", stamp)] = 123.0
    assert not ingest(source, table)["written"]
    facts = ingest(source, table, refresh=True)
    assert (facts["revisions"], facts["new_rows"], facts["written"]) == (1, 0, True)
    stored = table.read("2024-02")
    assert stored.loc[(stored["symbol"] == "ETH-USD") & (stored["timestamp"] == stamp), "close"].item() == 123.0
    meta = table.partitions["2024-02"].meta
    assert meta["revisions"] == 1
    assert meta["revised"][0]["symbol"] == "ETH-USD"
    assert meta["revised"][0]["timestamp"] == "2024-02-10T07:00:00Z"
    assert meta["revised"][0]["new"][3] == 123.0 != meta["revised"][0]["old"][3]
    assert not ingest(source, table, refresh=True)["written"]


def test_a_bar_revised_within_the_last_day_is_noticed_by_the_next_update(source: Counting, table: LakeTable):
    now = datetime(2024, 2, 20, 5, tzinfo=UTC)
    ingest(source, table, now=now)
    source.revised[("BTC-USD", pd.Timestamp("2024-02-20T01:00", tz="UTC"))] = 9.0
    assert ingest(source, table, now=now + timedelta(hours=1))["revisions"] == 1


def test_a_month_before_the_coverage_or_in_the_future_writes_nothing(source: Counting, table: LakeTable):
    assert not ingest(source, table, "2023-01")["written"]
    assert not ingest(source, table, now=datetime(2024, 1, 20, tzinfo=UTC))["written"]
    assert table.partitions == {}
    with pytest.raises(DataError, match="'2024-13' is not a month"):
        ingest(source, table, "2024-13")


def test_the_panel_read_back_is_the_market(source: Counting, table: LakeTable):
    months = months_between(START, END)
    assert months == ["2024-01", "2024-02", "2024-03"]
    for month in months:
        ingest(source, table, month)
    panel = read_panel(table, PAIR)
    assert len(panel) == (END - START) / timedelta(hours=1)
    assert np.isfinite(panel.close).all()
    part = read_panel(table, PAIR, start=datetime(2024, 2, 3, tzinfo=UTC), end=datetime(2024, 3, 1, tzinfo=UTC))
    assert part.timestamps[0] == np.datetime64("2024-02-03", "us")
    assert len(part) == 27 * 24
    offset = (part.timestamps[0] - panel.timestamps[0]) // np.timedelta64(1, "h")
    np.testing.assert_array_equal(part.close, panel.slice(offset, offset + len(part)).close)
    with pytest.raises(DataError, match="no bars in the range asked for"):
        read_bars(table, start=datetime(2025, 1, 1, tzinfo=UTC))


def test_bars_of_another_source_never_mix(tmp_path: Path, source: Counting, table: LakeTable):
    ingest(source, table)
    others = [
        bars_table(tmp_path, source=SimulatedSource(variant="placebo"), universe=PAIR),
        bars_table(tmp_path, source=source, universe=Universe(tickers=("ETH", "BTC"))),
        bars_table(tmp_path, source=source, universe=PAIR.model_copy(update={"timeframe": "4h"})),
    ]
    assert len({table.folder, *(other.folder for other in others)}) == 4
    assert all(other.partitions == {} for other in others)
    with pytest.raises(LakeError, match=r'source = .*"planted".* is opened with source = "another"'):
        LakeTable(tmp_path, stage="bars", name=table.folder.name, identity={**table.identity, "source": "another"})


def test_the_manifest_holds_no_moment_of_writing(source: Counting, table: LakeTable):
    ingest(source, table)
    assert "2030" not in (table.folder / MANIFEST).read_text()
