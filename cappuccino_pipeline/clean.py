"""`cappuccino clean`: artefact folders that nothing refers to any more; listed, and deleted only when asked for."""

import json
import re
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cappuccino_ml.core import CappuccinoError
from cappuccino_ml.registry import read_aliases
from cappuccino_pipeline.configuration import Configuration

_KINDS = ("datasets", "encoders", "studies", "comparisons", "refits", "models")  # what can be made again
_KEY = re.compile(r"[0-9a-f]{16}")
_MOST_JSON = 20_000_000  # bytes of a JSON file that is searched for keys; a study of a hundred trials has 1 MB


@dataclass(frozen=True)
class Stale:
    """A folder that may go."""

    folder: Path
    size: int  # bytes
    touched: datetime


def stale_folders(configuration: Configuration, *, older_than: timedelta, now: datetime) -> list[Stale]:
    """Artefacts of every market that nothing current refers to and nobody touched for `older_than`, oldest first.

    Kept is whatever a pointer in `current/`, a record in `trading/` or an aliased version leads to, by folder or by
    key, through the JSON files of what is kept: a verdict leads to its study, a study to its data set and its encoders.

    Raises:
        CappuccinoError: a pointer or a kept file cannot be read, so it is not known what is needed; nothing may go.
    """
    state = configuration.state
    folders = [folder for kind in _KINDS for folder in _artefacts(state / kind, nested=kind == "models")]
    kept = _kept(state, folders)
    found = [
        Stale(folder=folder, size=_size(folder), touched=touched)
        for folder in folders
        if folder not in kept and now - (touched := _touched(folder, now)) > older_than
    ]
    return sorted(found, key=lambda one: one.touched)


def remove(stale: list[Stale]) -> int:
    """Delete the folders -> bytes that were freed. The DONE mark goes first: what is left of a kill is not an artefact.

    Raises:
        OSError: one cannot be deleted.
    """
    for one in stale:
        (one.folder / "DONE").unlink(missing_ok=True)
        shutil.rmtree(one.folder)
    return sum(one.size for one in stale)


def _artefacts(root: Path, *, nested: bool) -> list[Path]:
    if not root.is_dir():
        return []
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.is_symlink()]
    return [inner for folder in folders for inner in _artefacts(folder, nested=False)] if nested else folders


def _kept(state: Path, folders: list[Path]) -> set[Path]:
    """Follow folders and keys from pointers, deployments and aliases until nothing new is found."""
    by_key = {folder.name: folder for folder in folders if _KEY.fullmatch(folder.name)}
    kept, read = set[Path](), set[Path]()
    waiting = [*(state / "current").rglob("*.json"), *(state / "trading").glob("**/*.json")]
    for market in _markets(state):
        versions = state / "models" / market
        aliased = read_aliases(state / "mlflow" / "mlflow.db", model_name=f"cappuccino-{market}").values()
        kept |= {versions / f"v{one.version}" for one in aliased}
        keys = {key for one in aliased for value in one.tags.values() for key in _KEY.findall(value)}
        for folder in {by_key[key] for key in keys if key in by_key}:
            kept.add(folder)
            waiting += folder.rglob("*.json")
    while waiting:
        path = waiting.pop()
        if path in read:
            continue
        read.add(path)
        text = _text(path)
        named = {by_key[key] for key in _KEY.findall(text) if key in by_key}
        named |= {folder for folder in folders if str(folder) in text}
        for folder in named - kept:
            kept.add(folder)
            waiting += folder.rglob("*.json")
        if path.is_relative_to(state / "current"):  # a verdict or a session: never removed, but what it names is kept
            waiting += Path(json.loads(text).get("folder", state / "nowhere")).glob("*.json")
    return kept


def _markets(state: Path) -> list[str]:
    return [path.name for path in (state / "current").iterdir()] if (state / "current").is_dir() else []


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_JSON:
            raise CappuccinoError(f"{path} is too large to be searched for what it refers to; nothing is removed.")
        text = path.read_text()
        json.loads(text)
    except (OSError, ValueError) as error:
        raise CappuccinoError(f"{path} cannot be read ({error}), so it is not known what is needed.") from error
    return text


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _touched(folder: Path, now: datetime) -> datetime:
    newest = max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)
    return datetime.fromtimestamp(newest, now.tzinfo)
