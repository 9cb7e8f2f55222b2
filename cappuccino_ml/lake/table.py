"""One table of the lake: a manifest and one Parquet file per partition, whole or absent, one writer at a time.

Order of a write: the new file under a name that holds its content's hash, then the manifest that names it, then removal
of the file it replaces. A crash between two steps leaves a manifest whose files are all there, and at most a stray
file, which the next opening removes.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from cappuccino_ml.core import LakeError, Settings, canonical_json, digest, write_bytes
from cappuccino_ml.core.files import make_folder
from cappuccino_ml.lake.parquet import from_parquet, to_parquet

MANIFEST = "manifest.json"
_LOCK = ".lock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class PartitionEntry(Settings):
    """What the manifest says about one partition."""

    file: str
    sha256: str
    rows: int
    first: str | None = Field(None, description="earliest `timestamp`, ISO 8601; none without that column or rows")
    last: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)


class _Manifest(Settings):
    identity: dict[str, Any]
    partitions: dict[str, PartitionEntry] = Field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """JSON with one line per partition: ten years stay cheap to write and easy to compare."""
        lines = [f"{json.dumps(name)}: {entry.model_dump_json()}" for name, entry in sorted(self.partitions.items())]
        rows = ",\n".join(lines)
        return f'{{"identity": {json.dumps(self.identity)},\n"partitions": {{\n{rows}\n}}}}\n'.encode()


class LakeTable:
    """A partitioned table in `<root>/<stage>/<name>/`.

    Args:
        root: the state folder.
        stage: the stage's noun: `bars`, `features`, ...
        name: the table's name.
        identity: JSON types that say what these rows are (schema, universe, source, ...), fixed by the first write.
        lock_timeout_s: how long a second writer waits for the first.

    Raises:
        LakeError: the table exists with another identity, or its manifest cannot be read.
    """

    def __init__(
        self, root: Path, *, stage: str, name: str, identity: dict[str, Any], lock_timeout_s: float = 60.0
    ) -> None:
        _require_name("stage", stage)
        _require_name("table", name)
        self.folder = Path(root) / stage / name
        self.identity: dict[str, Any] = json.loads(canonical_json(identity))
        self.lock_timeout_s = lock_timeout_s
        self._lock = FileLock(self.folder / _LOCK)
        self._seen: tuple[bytes, _Manifest] = (b"", _Manifest(identity=self.identity))
        self._manifest()
        self._remove_strays_if_idle()

    @property
    def partitions(self) -> dict[str, PartitionEntry]:
        """Entries by partition, sorted, as the manifest on disk has them now; leave their `meta` as it is."""
        return dict(sorted(self._manifest().partitions.items()))

    def read(self, partition: str) -> pd.DataFrame:
        """The rows of one partition, proven to be the bytes the manifest names.

        Raises:
            LakeError: there is no such partition, or its file is missing or altered.
        """
        entry, data = self._entry(partition), None
        while data is None:
            try:
                data = (self.folder / entry.file).read_bytes()
            except OSError as error:
                # A writer may have replaced the file since the manifest was read; the new manifest then names another.
                newer = self._entry(partition)
                if newer.file == entry.file:
                    raise LakeError(
                        f"cannot read {self.folder / entry.file}: {error.strerror}; "
                        f"restore the file, or delete {self.folder} and materialize again."
                    ) from error
                entry = newer
        found = hashlib.sha256(data).hexdigest()
        if found != entry.sha256:
            raise LakeError(
                f"{self.folder / entry.file} has sha256 {found[:12]} and its manifest says {entry.sha256[:12]}; "
                f"restore the file, or delete {self.folder} and materialize again."
            )
        return from_parquet(data, path=self.folder / entry.file)

    def read_all(self) -> pd.DataFrame:
        """All partitions in their order, one below the other.

        Raises:
            LakeError: the table is empty or a file is missing or altered.
        """
        frames = [self.read(partition) for partition in self.partitions]
        if not frames:
            raise LakeError(f"the table {self.folder} has no partitions yet; materialize its asset first.")
        return pd.concat(frames, ignore_index=True)

    def write(self, partition: str, frame: pd.DataFrame, *, meta: dict[str, Any] | None = None) -> bool:
        """Replace one partition. Returns False, with nothing written, if it holds the same rows and `meta` already.

        Args:
            partition: its name, such as `2024-03`.
            frame: the whole partition.
            meta: JSON facts to keep beside it; None keeps those it has.

        Raises:
            LakeError: another writer holds the table, or the disk refuses.
        """
        _require_name("partition", partition)
        data = to_parquet(frame)
        sha256 = hashlib.sha256(data).hexdigest()
        with self.lock():
            manifest = self._manifest()
            old = manifest.partitions.get(partition)
            kept = old.meta if old is not None else {}
            first, last = _span(frame)
            entry = PartitionEntry(
                file=f"{partition}-{sha256[:12]}.parquet",
                sha256=sha256,
                rows=len(frame),
                first=first,
                last=last,
                meta=kept if meta is None else json.loads(canonical_json(meta)),
            )
            if entry == old:
                return False
            if old is None or old.file != entry.file:
                write_bytes(self.folder / entry.file, data)
            manifest = _Manifest(identity=self.identity, partitions=manifest.partitions | {partition: entry})
            data = manifest.to_bytes()
            write_bytes(self.folder / MANIFEST, data)
            self._seen = (data, manifest)
            if old is not None and old.file != entry.file:
                _remove(self.folder / old.file)
        return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other writers, of this process or another; may be nested in one table object.

        Raises:
            LakeError: another writer kept the table for longer than `lock_timeout_s`.
        """
        try:
            make_folder(self.folder)
            self._lock.acquire(timeout=self.lock_timeout_s)
        except Timeout as error:
            raise LakeError(
                f"another writer has held {self.folder} for {self.lock_timeout_s:g} s; "
                "wait for that run to end or stop it, then try again."
            ) from error
        except OSError as error:
            raise LakeError(
                f"cannot write {self.folder}: {error.strerror}; make the folder writable or set CAPPUCCINO_STATE."
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def manifest_hash(self) -> str:
        """64 hex digits over the identity and every partition's content; meta facts do not count."""
        manifest = self._manifest()
        content = {partition: entry.sha256 for partition, entry in manifest.partitions.items()}
        return digest({"identity": manifest.identity, "partitions": content})

    def _manifest(self) -> _Manifest:
        path = self.folder / MANIFEST
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return _Manifest(identity=self.identity)
        except OSError as error:
            raise LakeError(f"cannot read {path}: {error.strerror}; make it readable and try again.") from error
        # Another process may write at any time, so the bytes are always read; only new ones are understood anew.
        if data != self._seen[0]:
            try:
                manifest = _Manifest.model_validate_json(data)
            except ValidationError as error:
                first = error.errors()[0]
                wrong = ".".join(map(str, first["loc"])) or first["msg"]
                raise LakeError(
                    f"{path} is not a manifest (wrong at {wrong}); delete {self.folder} and materialize again."
                ) from error
            if manifest.identity != self.identity:
                raise LakeError(self._other_identity(manifest.identity))
            self._seen = (data, manifest)
        return self._seen[1]

    def _other_identity(self, stored: dict[str, Any]) -> str:
        key = next(
            key for key in sorted({*stored, *self.identity}) if stored.get(key, ...) != self.identity.get(key, ...)
        )
        there, here = (json.dumps(side[key]) if key in side else "absent" for side in (stored, self.identity))
        return (
            f"{self.folder} was made with {key} = {there} and is opened with {key} = {here}; "
            "use the old setting, another state folder, or delete that folder and materialize again."
        )

    def _entry(self, partition: str) -> PartitionEntry:
        entries = self._manifest().partitions
        if partition not in entries:
            known = f"{min(entries)} to {max(entries)}" if entries else "none"
            raise LakeError(f"{self.folder} has no partition {partition} (it has {known}); materialize it first.")
        return entries[partition]

    def _remove_strays_if_idle(self) -> None:
        """Clean up after a crash, but only while holding the lock: a file without an entry may be a write under way."""
        if not self.folder.is_dir():
            return
        try:
            self._lock.acquire(timeout=0)
        except (Timeout, OSError):
            return  # someone is writing, or this reader may not write: either way the strays are not ours to remove
        try:
            named = {entry.file for entry in self._manifest().partitions.values()}
            for path in self.folder.iterdir():
                if path.name.endswith(".tmp") or (path.suffix == ".parquet" and path.name not in named):
                    _remove(path)
        finally:
            self._lock.release()


def _remove(path: Path) -> None:
    # Nothing names the file any more: if it cannot go now, the next opening tries again.
    with suppress(OSError):
        path.unlink()


def _span(frame: pd.DataFrame) -> tuple[str | None, str | None]:
    if "timestamp" not in frame.columns or frame.empty:
        return None, None
    return frame["timestamp"].min().isoformat(), frame["timestamp"].max().isoformat()


def _require_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise LakeError(f"{name!r} is not a name for a {what}; use letters, digits, '-', '_' and '.', not first a '.'.")
