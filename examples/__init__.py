"""The library without Dagster, one short script per stage; each reads what the one before left in the same folder."""

import sys
from pathlib import Path


def folder() -> Path:
    """The folder named on the command line, `data_lake/examples` if there is none; made if absent."""
    chosen = Path(sys.argv[1] if len(sys.argv) > 1 else "data_lake/examples")
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
