"""Who moved which alias, when and why: MLflow keeps no such record, so we do."""

import json
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from cappuccino_ml.core import Settings
from cappuccino_ml.core.files import write_bytes


class AliasMove(Settings):
    """One move. `version` None means that the alias was removed; `previous` None that it was not set before."""

    alias: str
    version: str | None
    previous: str | None
    who: str
    when: datetime
    why: str


class AliasLog:
    """An append-only file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, move: AliasMove) -> None:
        """Add one line. The file is replaced whole and fsynced: it never holds half a line.

        Raises:
            LakeError: the file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            before = self.path.read_bytes() if self.path.exists() else b""
            line = json.dumps(move.model_dump(mode="json"), sort_keys=True) + "\n"
            write_bytes(self.path, before + line.encode())

    def moves(self) -> list[AliasMove]:
        """All moves, oldest first."""
        if not self.path.exists():
            return []
        return [AliasMove.model_validate_json(line) for line in self.path.read_text().splitlines()]
