"""Whatever happens in whatever order, the lake holds what the source has answered: no more, no less, each bar once."""

import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.bars import Universe, bars_table, ingest_month
from cappuccino_ml.bars.answered import OVERLAP_BARS
from cappuccino_ml.core import SourceError
from cappuccino_ml.lake import MANIFEST

PAIR = Universe(tickers=("BTC", "ETH"), timeframe="4h")
START = datetime(2024, 1, 20, tzinfo=UTC)
LISTED = datetime(2024, 2, 3, 8, tzinfo=UTC)  # ETH's first bar
BARS = [START + step * PAIR.bar for step in range(240)]  # forty days over a turn of the month
ETH_BEFORE = {("ETH-USD", moment) for moment in BARS if moment < LISTED}
Key = tuple[str, datetime]
Values = tuple[float, ...]


class World:
    """A lake, its source, and a plain account of what was asked and answered."""

    def __init__(self, root: Path, source: Any, make_disk: Any, power_cut: type[BaseException]) -> None:
        self.root, self.source, self.make_disk, self.power_cut = root, source, make_disk, power_cut
        self.table = self.reopen()
        self.truth: dict[Key, Values] = {}
        self.asked: set[Key] = set()
        self.settled: set[Key] = set()  # asked for when they had been closed for long
        self.latest = START

    def reopen(self) -> Any:
        self.table = bars_table(self.root, source=self.source, universe=PAIR)
        return self.table

    def ingest(self, now: datetime, *, refresh: bool = False, cut_at: int | None = None) -> None:
        self.latest = max(self.latest, now)
        for month in ("2024-01", "2024-02"):
            self.source.calls.clear()
            facts, crashed = None, False
            with pytest.MonkeyPatch.context() as patch, self.make_disk(self.root, cut_at=cut_at).in_place(patch):
                try:
                    facts = ingest_month(self.source, self.table, PAIR, month, now=now, refresh=refresh)
                except SourceError:
                    assert self.source.fails_for
                except self.power_cut:
                    crashed = True
            answered = [call for call in self.source.calls if call[0] not in self.source.fails_for]
            moments = {(symbol, moment) for symbol, start, end in answered for moment in BARS if start <= moment < end}
            fresh = {key: tuple(self.source.bar(*key).values()) for key in moments - self.source.absent}
            new_truth = self.truth | fresh
            if crashed:
                self.reopen()
                kept = self.stored() == new_truth
                assert kept or self.stored() == self.truth
            if not crashed or kept:
                changed = [key[1] for key, values in fresh.items() if self.truth.get(key) != values]
                if facts is not None:
                    assert facts["changed_from"] == (min(changed).isoformat() if changed else None)
                    assert facts["new_rows"] + facts["revisions"] == len(changed)
                self.truth = new_truth
                self.asked |= moments
                long_ago = closed(now) - OVERLAP_BARS * PAIR.bar
                self.settled |= {key for key in moments if key[1] < long_ago}
            if crashed:
                return
            if facts is not None:
                self.check_complete(month, now)
        if facts is not None:
            assert not ingest_month(self.source, self.table, PAIR, month, now=now)["written"]

    def stored(self) -> dict[Key, Values]:
        if not self.table.partitions:
            return {}
        frame = self.table.read_all()
        assert not frame.duplicated(["symbol", "timestamp"]).any()
        assert frame["timestamp"].is_monotonic_increasing
        return {(row[0], row[1].to_pydatetime()): tuple(row[2:]) for row in frame.itertuples(index=False, name=None)}

    def check_complete(self, month: str, now: datetime) -> None:
        end = closed(now)
        due = [moment for moment in BARS if moment < end and f"{moment:%Y-%m}" == month]
        assert {(symbol, moment) for symbol in PAIR.symbols for moment in due} <= self.asked

    def check(self) -> None:
        assert self.stored() == self.truth
        assert not self.truth or max(moment for _, moment in self.truth) < closed(self.latest)
        entries = self.table.partitions
        for entry in entries.values():
            path = self.table.folder / entry.file
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
            for symbol, stretch in entry.meta["answered"].items():
                first, stop = map(datetime.fromisoformat, stretch)
                assert first < stop
                assert {(symbol, moment) for moment in BARS if first <= moment < stop} <= self.settled
        self.reopen()
        held = {path.name for path in self.table.folder.iterdir()} if entries else set()
        assert held - {MANIFEST, ".lock"} == {entry.file for entry in entries.values()}


def closed(now: datetime) -> datetime:
    return pd.Timestamp(now).floor("4h").to_pydatetime()


keys = st.tuples(st.sampled_from(PAIR.symbols), st.sampled_from(BARS))
moments = st.integers(0, 239 * 240).map(lambda minutes: START + timedelta(minutes=minutes))
steps = st.one_of(
    st.tuples(st.just("ingest"), moments),
    st.tuples(st.just("ingest"), moments),
    st.tuples(st.just("refresh"), moments),
    st.tuples(st.just("crash"), st.tuples(moments, st.integers(0, 14))),
    st.tuples(st.just("fail"), st.tuples(moments, st.sampled_from(PAIR.symbols))),
    st.tuples(st.just("revise"), st.lists(st.tuples(keys, st.floats(50, 150)), min_size=1, max_size=3)),
    st.tuples(st.just("supply"), st.just(None)),
    st.tuples(st.just("reopen"), st.just(None)),
)


@settings(max_examples=20)
@given(holes=st.sets(keys, max_size=12), outage=st.sampled_from(BARS), script=st.lists(steps, min_size=2, max_size=9))
def test_the_lake_equals_the_answers_after_any_sequence_of_events(
    make_shelf: Any,
    make_disk: Any,
    power_cut: type[BaseException],
    holes: set[Key],
    outage: datetime,
    script: list[tuple[str, Any]],
):
    source = make_shelf(start=START, end=BARS[-1] + PAIR.bar)
    source.absent = holes | ETH_BEFORE | {("BTC-USD", outage + step * PAIR.bar) for step in range(5)}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), source, make_disk, power_cut)
        for kind, detail in script:
            if kind == "ingest":
                world.ingest(detail)
            elif kind == "refresh":
                world.ingest(detail, refresh=True)
            elif kind == "crash":
                world.ingest(detail[0], cut_at=detail[1])
            elif kind == "fail":
                source.fails_for = {detail[1]}
                world.ingest(detail[0])
                source.fails_for = set()
            elif kind == "revise":
                source.close |= dict(detail)
            elif kind == "supply":
                source.absent = ETH_BEFORE
            else:
                world.reopen()
            world.check()
        # In the end one refresh brings the lake to what the source has now, whatever came before.
        world.ingest(BARS[-1] + timedelta(days=9), refresh=True)
        world.check()
        everything = {(symbol, moment) for symbol in PAIR.symbols for moment in BARS} - source.absent
        assert world.stored() == {key: tuple(source.bar(*key).values()) for key in everything}
