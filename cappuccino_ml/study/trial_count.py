"""How many trials have been measured on some bars, by study, those that stopped before a verdict included."""

import json
from pathlib import Path
from typing import Any

from cappuccino_ml.core import digest, is_done, read_json
from cappuccino_ml.study.dataset import bars_identity


def measured_trials(studies_root: Path, *, datasets_root: Path, data: dict[str, Any]) -> dict[str, int]:
    """Study key -> trials with at least one measured fold, of all studies on bars of the identity `data`.

    A trial is a configuration: its folds and seeds count once. Failed trials count as soon as one fold was measured,
    because that number could be looked at. A study whose data set is gone counts too: it may have been these bars.

    Args:
        studies_root: folder of studies.
        datasets_root: folder of frozen data sets, which say where their bars came from.
        data: as `bars_identity` gives it.
    """
    wanted = digest(data)
    same: dict[str, bool] = {}
    found: dict[str, int] = {}
    for folder in sorted(studies_root.glob("*/trials")):
        tried = set()
        for job in folder.glob("[!.]*/job.json"):
            if not is_done(job.parent):
                continue
            facts = json.loads(job.read_text())
            key = facts["dataset_key"]
            if key not in same:
                config = datasets_root / key / "dataset.json"
                same[key] = not config.is_file() or digest(bars_identity(read_json(config))) == wanted
            if same[key]:
                tried.add(digest(facts["training"]))
        if tried:
            found[folder.parent.name] = len(tried)
    return found
