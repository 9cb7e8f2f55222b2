"""Aliases read straight from MLflow's SQLite file, for pages that must answer at once: MLflow takes 3 s to import."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cappuccino_ml.core import CappuccinoError

_ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ? ORDER BY alias"
_TAGS = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"


@dataclass(frozen=True)
class AliasedVersion:
    """A version that an alias names, with the tags it was registered with. Anyone can edit tags: for people only."""

    version: str
    tags: Mapping[str, str]


def read_aliases(database: Path, *, model_name: str) -> dict[str, AliasedVersion]:
    """Alias -> version of `model_name`; empty while there is no database. Nothing is written and no lock is kept.

    What decides about trading asks `ModelRegistry`; a test holds the two to the same answer.

    Raises:
        CappuccinoError: the file is not a database of the MLflow release this was written for.
    """
    if not database.is_file():
        return {}
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return {
                alias: AliasedVersion(
                    version=str(version), tags=dict(connection.execute(_TAGS, (model_name, version)).fetchall())
                )
                for alias, version in connection.execute(_ALIASES, (model_name,)).fetchall()
            }
    except sqlite3.Error as error:
        raise CappuccinoError(
            f"the aliases cannot be read from {database} ({error}); look at them with `make ui`."
        ) from error
