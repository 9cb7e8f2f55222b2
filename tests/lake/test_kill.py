"""Processes killed at any moment and processes that write at once leave the lake as one calm process would."""

import os
import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cappuccino_ml.bars import Universe, bars_table, ingest_month
from cappuccino_ml.core import LakeError
from cappuccino_ml.lake import LakeTable

PAIR = Universe(tickers=("BTC", "ETH"))
MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
NOW = datetime(2024, 4, 20, 7, 30, tzinfo=UTC)
KILLS = 20
Contents = Callable[[Path], dict[str, bytes]]


def open_table(root: Path, source: Any, *, lock_timeout_s: float = 20.0) -> LakeTable:
    return bars_table(root, source=source, universe=PAIR, lock_timeout_s=lock_timeout_s)


def ingest(root: Path, source: Any, *, months: tuple[str, ...] = MONTHS, lock_timeout_s: float = 20.0) -> None:
    for month in months:
        table = open_table(root, source, lock_timeout_s=lock_timeout_s)
        ingest_month(source, table, PAIR, month, now=NOW)


class Child:
    """A forked process that does `work` and sends back the bytes it returns."""

    def __init__(self, work: Callable[[], bytes | None]) -> None:
        self.answer, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.write(theirs, b"." + (work() or b""))
                code = 0
            finally:
                os._exit(code)  # neither pytest's buffers nor its fixtures are the child's to end
        os.close(theirs)

    def kill_after(self, seconds: float) -> None:
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, bytes]:
        """Exit code, minus the signal that ended it, and the answer."""
        _, status = os.waitpid(self.pid, 0)
        answer = os.read(self.answer, 4096)
        os.close(self.answer)
        return os.waitstatus_to_exitcode(status), answer[1:]


def slow_disk(*, dies_at: int | None) -> None:
    """In a child only: every step of a write takes a moment, so that kills land inside; one step may be its last."""
    steps = iter(range(10**6))

    def slow(real: Callable[..., None]) -> Callable[..., None]:
        def step(*args: Any, **more: Any) -> None:
            if next(steps) == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.002)
            real(*args, **more)

        return step

    os.fsync, os.replace, os.unlink = slow(os.fsync), slow(os.replace), slow(os.unlink)


def test_twenty_kills_at_random_moments_and_a_clean_resume_give_the_undisturbed_bytes(
    tmp_path: Path, make_shelf: Any, contents: Contents
):
    source = make_shelf()
    ingest(tmp_path / "undisturbed", source)
    expected = contents(tmp_path / "undisturbed")
    source.before_answer = lambda symbol: time.sleep(0.004)

    def work(root: Path, dies_at: int | None) -> None:
        slow_disk(dies_at=dies_at)
        ingest(root, source)

    began = time.monotonic()
    assert Child(lambda: work(tmp_path / "timed", None)).wait() == (0, b"")
    whole_s = time.monotonic() - began
    chance = random.Random(20)
    kills = lakes = half_written = 0
    while kills < KILLS:
        root = tmp_path / str(lakes)
        # Two of three die when the parent says so, the third inside a step of a write.
        dies_at = (0, 1, 3, 4, 5, 7)[kills // 3 % 6] if kills % 3 == 0 else None
        child = Child(lambda root=root, dies_at=dies_at: work(root, dies_at))
        if dies_at is None:
            child.kill_after(chance.uniform(0, whole_s / 2))
        code, _ = child.wait()
        kills += code == -signal.SIGKILL
        half_written += any(path.name.endswith(".tmp") for path in root.rglob("*"))
        left = open_table(root, source, lock_timeout_s=0.0)  # the dead process holds no lock
        assert all(len(left.read(month)) == entry.rows for month, entry in left.partitions.items())
        assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]
        if len(left.partitions) == len(MONTHS):  # all but done: let the next kills hit a fresh lake
            ingest(root, source)
            assert contents(root) == expected
            lakes += 1
    source.before_answer = lambda symbol: None
    ingest(root, source, lock_timeout_s=0.0)
    assert contents(root) == expected
    assert half_written >= 1


def test_a_second_process_waits_for_the_first_says_so_and_finds_the_work_done(tmp_path: Path, make_shelf: Any):
    source, ready, go = make_shelf(), os.pipe(), os.pipe()

    def hold(symbol: str) -> None:
        os.write(ready[1], b"r")
        os.read(go[0], 1)

    def work() -> None:
        source.before_answer = hold
        ingest(tmp_path, source, months=("2024-01",))

    first = Child(work)
    os.read(ready[0], 1)  # it has the lock and is asking the source
    with pytest.raises(LakeError, match=r"another writer has held .* for 0\.1 s; wait for that run to end or stop it"):
        ingest(tmp_path, source, months=("2024-01",), lock_timeout_s=0.1)
    assert source.calls == []
    os.write(go[1], b"gg")
    assert first.wait() == (0, b"")
    ingest(tmp_path, source, months=("2024-01",))
    assert source.calls == []


def test_a_killed_writer_leaves_the_table_to_the_next_one_at_once(tmp_path: Path, make_shelf: Any):
    source, ready = make_shelf(), os.pipe()

    def hold(symbol: str) -> None:
        os.write(ready[1], b"r")
        time.sleep(60)

    def work() -> None:
        source.before_answer = hold
        ingest(tmp_path, source, months=("2024-01",))

    first = Child(work)
    os.read(ready[0], 1)
    first.kill_after(0.0)
    assert first.wait()[0] == -signal.SIGKILL
    ingest(tmp_path, source, months=("2024-01",), lock_timeout_s=0.0)
    assert open_table(tmp_path, source).partitions["2024-01"].rows == 2 * 31 * 24


def test_two_processes_over_the_same_months_ask_once_and_give_the_bytes_of_one(
    tmp_path: Path, make_shelf: Any, contents: Contents
):
    source, months = make_shelf(), MONTHS[:3]
    ingest(tmp_path / "one", source, months=months)
    asked = len(source.calls)
    source.before_answer = lambda symbol: time.sleep(0.005)

    def work() -> bytes:
        source.calls.clear()
        ingest(tmp_path / "two", source, months=months)
        return str(len(source.calls)).encode()

    child = Child(work)
    here = int(work())
    code, there = child.wait()
    assert code == 0
    assert here + int(there) == asked
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
