"""The trader's ledger: append-only rows on disk, each hashing the one before, for one trader at a time."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from cappuccino_ml.core import TradingError, canonical_json

_GENESIS = "0" * 64
_TABLE = """
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS ledger_no_update BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS ledger_no_delete BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


@dataclass(frozen=True)
class Row:
    """One fact: when it was written, its kind and its JSON payload."""

    seq: int
    at: datetime
    kind: str
    payload: dict[str, Any]


class Ledger:
    """SQLite, write-ahead log, every row fsynced before `record` returns.

    An edited, removed or inserted row breaks the chain. A tail that was cut off does not: the broker's book shows that.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open `path` and lock it. `durable=False` skips the fsync: for replays of history, never for trading.

        Raises:
            TradingError: another trader holds the ledger, or the file cannot be used.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise TradingError(f"another trader holds {path}; stop it before you start this one.") from None
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_TABLE)
            last = self._db.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
        except sqlite3.Error as error:
            self._lock.release()
            raise TradingError(
                f"ledger {path} cannot be opened ({error}); check the disk or restore a copy."
            ) from error
        self._seq: int = last[0] if last else 0
        self._hash: str = last[1] if last else _GENESIS

    def record(self, kind: str, payload: Mapping[str, Any], *, at: datetime) -> Row:
        """Append one row; when this returns, it is on disk.

        Args:
            kind: what sort of fact.
            payload: JSON values only; NaN and infinities are refused.
            at: the trader's time.

        Raises:
            TradingError: the row cannot be written (disk full, file gone): the trader must stop.
        """
        body, moment, seq = canonical_json(dict(payload)), at.astimezone(UTC).isoformat(), self._seq + 1
        sha = _chain(self._hash, seq, moment, kind, body)
        try:
            self._db.execute("INSERT INTO ledger VALUES (?, ?, ?, ?, ?)", (seq, moment, kind, body, sha))
        except sqlite3.Error as error:
            raise TradingError(f"ledger {self.path} cannot be written ({error}); free the disk and restart.") from error
        self._seq, self._hash = seq, sha
        return Row(seq=seq, at=datetime.fromisoformat(moment), kind=kind, payload=json.loads(body))

    def rows(self) -> Iterator[Row]:
        """All rows, oldest first."""
        for seq, at, kind, body in self._db.execute(
            "SELECT seq, at, kind, payload FROM ledger ORDER BY seq"
        ).fetchall():
            yield Row(seq=seq, at=datetime.fromisoformat(at), kind=kind, payload=json.loads(body))

    def verify(self) -> int:
        """Check the whole chain -> number of rows.

        Raises:
            TradingError: a row was edited, removed or inserted; names the first one that does not fit.
        """
        return len(_verified(self._db, self.path))

    def close(self) -> None:
        """Close the file and let another trader in."""
        self._db.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_held(path: Path) -> bool:
    """Whether a process holds the ledger now, whatever any other file says of that process."""
    lock = Path(f"{path}.lock")
    if not lock.exists():
        return False
    try:
        with FileLock(lock).acquire(timeout=0):
            return False
    except Timeout:
        return True


def read_ledger(path: Path) -> list[Row]:
    """All rows of a ledger, its chain verified, without its lock: its trader may go on meanwhile.

    Raises:
        TradingError: there is no such ledger, or a row was altered.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return _verified(database, path)
    except sqlite3.Error as error:
        raise TradingError(f"ledger {path} cannot be read ({error}); name one that a trader wrote.") from error


def _verified(database: sqlite3.Connection, path: Path) -> list[Row]:
    sha, rows = _GENESIS, list[Row]()
    for seq, at, kind, body, stored in database.execute(
        "SELECT seq, at, kind, payload, hash FROM ledger ORDER BY seq"
    ).fetchall():
        sha = _chain(sha, len(rows) + 1, at, kind, body)
        if seq != len(rows) + 1 or sha != stored:
            raise TradingError(f"row {seq} of ledger {path} was altered; restore a copy and find out by whom.")
        rows.append(Row(seq=seq, at=datetime.fromisoformat(at), kind=kind, payload=json.loads(body)))
    return rows


def _chain(before: str, seq: int, at: str, kind: str, body: str) -> str:
    return hashlib.sha256(canonical_json([before, seq, at, kind, body]).encode()).hexdigest()
