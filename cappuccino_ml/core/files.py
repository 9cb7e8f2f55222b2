"""Files that are whole or absent, never half: write aside, fsync, rename."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cappuccino_ml.core.errors import LakeError

DONE = "DONE"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, so that they and what is written into them outlive a power cut.

    Raises:
        OSError: the disk refuses.
    """
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in absent:
        _sync(path.parent)  # a folder's name is content of the folder above it


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; after a power cut it holds either the old bytes or the new ones, once back the new."""
    try:
        make_folder(path.parent)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise LakeError(
            f"cannot write {path}: {error.strerror}; make the folder writable or set CAPPUCCINO_STATE."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` (JSON types or a pydantic model) indented, keys in the order given."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON value in `path`.

    Raises:
        LakeError: the file is absent or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise LakeError(f"cannot read {path}: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise LakeError(
            f"{path} is not JSON ({error.msg} at line {error.lineno}); delete it and materialize again."
        ) from error


def is_done(folder: Path) -> bool:
    """Whether `folder` holds a finished artefact. A folder without the DONE mark is never read."""
    return (folder / DONE).is_file()


def mark_done(folder: Path) -> None:
    """Set the DONE mark of a folder that grew in place; call it after everything else is written."""
    write_bytes(folder / DONE, b"")


@contextmanager
def artifact_folder(folder: Path) -> Iterator[Path]:
    """Make a whole artefact folder or none: yields a folder aside, marks it DONE and renames it into place.

    If `folder` is already DONE when the block ends, the work is thrown away: the same key names the same result.
    """
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise LakeError(
            f"cannot write {folder}: {error.strerror}; make the folder writable or set CAPPUCCINO_STATE."
        ) from error
    try:
        yield aside
        for path in aside.rglob("*"):
            _sync(path)  # files and folders: a DONE mark must never outlive what it vouches for
        (aside / DONE).write_bytes(b"")
        _sync(aside)
        if not is_done(folder):
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(aside, folder)
            _sync(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
