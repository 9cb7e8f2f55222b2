"""A light source whose every bar is known, and a disk that loses power: what a lake must survive."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import Universe
from cappuccino_ml.core import SourceError

Names = dict[str, int]  # what a folder holds -> inode


class Shelf:
    """Bars of any symbol at any time, made from symbol and time alone; they may be missing, late or revised."""

    name = "shelf"
    label = "made for a test"

    def __init__(self, *, start: datetime = datetime(2024, 1, 1, tzinfo=UTC), end: datetime | None = None) -> None:
        self.start, self.end = start, end
        self.absent: set[tuple[str, datetime]] = set()
        self.close: dict[tuple[str, datetime], float] = {}  # values that differ from the usual ones
        self.calls: list[tuple[str, datetime, datetime]] = []
        self.before_answer: Callable[[str], None] = lambda symbol: None
        self.fails_for: set[str] = set()

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def coverage(self, universe: Universe) -> tuple[datetime, datetime | None]:
        return self.start, self.end

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        self.calls.append((symbol, start, end))
        self.before_answer(symbol)
        if symbol in self.fails_for:
            raise SourceError(f"the shelf has fallen over while {symbol} was asked for; put it up again.")
        first = start + (datetime(1970, 1, 1, tzinfo=UTC) - start) % universe.bar
        opens = [first + step * universe.bar for step in range(max(0, -((first - end) // universe.bar)))]
        held = [moment for moment in opens if (symbol, moment) not in self.absent]
        return pd.DataFrame([{"timestamp": moment, **self.bar(symbol, moment)} for moment in held], columns=_COLUMNS)

    def bar(self, symbol: str, moment: datetime) -> dict[str, float]:
        usual = 100.0 + float(np.sin(moment.timestamp() / 7e4 + len(symbol)))
        close = self.close.get((symbol, moment), usual)
        high, low = max(usual, close) + 1, min(usual, close) - 1
        return {"open": usual, "high": high, "low": low, "close": close, "volume": 5.0}


_COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


class PowerCut(BaseException):
    """Nothing that runs after this reaches the disk any more."""


class Disk:
    """Counts the steps of writes below `root`, can cut the power at one, and knows what would be left on the platter.

    What was not synced may be lost in any combination: the content of a file until its own fsync, the names in a
    folder until the fsync of that folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        cut_at: int | None = None,
        error: Callable[[], BaseException] = PowerCut,
        watch: Callable[["Disk"], None] | None = None,
    ) -> None:
        self.root, self.cut_at, self.error, self.watch = root, cut_at, error, watch
        self.steps = 0
        self._held = [os.open(path, os.O_RDONLY) for path in root.rglob("*") if path.is_file()]
        self._names = self._present()  # of each folder, by inode: what is safe
        self._content = {os.fstat(handle).st_ino: os.pread(handle, 1 << 30, 0) for handle in self._held}

    @contextmanager
    def in_place(self, patch: pytest.MonkeyPatch) -> Iterator["Disk"]:
        with patch.context() as inside:
            for name in ("fsync", "replace", "unlink"):
                inside.setattr(os, name, self._watched(name, getattr(os, name)))
            yield self
        for handle in self._held:
            os.close(handle)

    def _watched(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def step(*args: Any, **more: Any) -> None:
            if self.watch is not None:
                self.watch(self)
            if self.cut_at is not None and self.steps >= self.cut_at:
                raise self.error()
            if name == "fsync":
                self._synced(args[0])  # the account says what is safe; the machine's own disk need not be waited for
            else:
                real(*args, **more)
            self.steps += 1

        return step

    def _synced(self, handle: int) -> None:
        inode = os.fstat(handle).st_ino
        if inode in (present := self._present()):
            self._names[inode] = present[inode]
        else:
            path = Path(f"/proc/self/fd/{handle}")
            self._content[inode] = path.read_bytes()
            self._held.append(os.open(path, os.O_RDONLY))  # so that no other file gets this inode

    def _present(self) -> dict[int, Names]:
        folders = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        return {
            folder.stat().st_ino: {path.name: path.stat().st_ino for path in folder.iterdir() if path.name != ".lock"}
            for folder in folders
        }

    def left_behind(self, into: Path) -> Iterator[Path]:
        """Every state of the folder that a power cut right now may leave, each as a folder below `into`."""
        present = self._present()
        safe = {folder: self._names.get(folder, {}) for folder in {*present, *self._names}}
        pending = [
            (folder, name)
            for folder, names in present.items()
            for name in sorted({*names, *safe[folder]})
            if names.get(name) != safe[folder].get(name)
        ]
        for count in range(len(pending) + 1):
            for lucky in combinations(pending, count):
                names = {folder: dict(entries) for folder, entries in safe.items()}
                for folder, name in lucky:
                    names[folder].pop(name, None)
                    names[folder] |= {name: present[folder][name]} if name in present[folder] else {}
                target = into / str(len(list(into.iterdir())) if into.is_dir() else 0)
                target.mkdir(parents=True)
                self._lay_out(self.root.stat().st_ino, target, names)
                yield target

    def _lay_out(self, folder: int, target: Path, names: dict[int, Names]) -> None:
        for name, inode in names[folder].items():
            if inode in names:
                (target / name).mkdir()
                self._lay_out(inode, target / name, names)
            else:
                (target / name).write_bytes(self._content.get(inode, b""))


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file but locks, with its bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def make_shelf() -> type[Shelf]:
    return Shelf


@pytest.fixture(scope="session")
def make_disk() -> type[Disk]:
    return Disk


@pytest.fixture(scope="session")
def power_cut() -> type[PowerCut]:
    return PowerCut


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    return files_below
