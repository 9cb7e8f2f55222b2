"""How many workers there were, and how often one was killed, cannot be read from a verdict."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .whole_study import whole_study

# What is killed once so many fits below `studies/` are finished: in the search twice, in cross-validation twice.
PLAN = (
    ("trials", 1, "worker"),
    ("trials", 3, "program"),
    ("cross_validation", 1, "worker"),
    ("cross_validation", 3, "worker"),
)
# Not by -m: every spawned worker would import the whole of the program's main module again.
PROGRAM = (
    "import sys; from tests.verdict.whole_study import whole_study, Path; whole_study(Path(sys.argv[1]), workers=2)"
)
ROOT = Path(__file__).parents[2]


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every stored report and reading of a holdout below a state folder."""
    files = sorted((folder / "verdicts").rglob("*.json")) + sorted((folder / "verdicts").rglob("*.parquet"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def started(state: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as lines:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(state)],
            cwd=ROOT,
            stdout=lines,
            stderr=lines,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Spawned workers of the pool, without the helper process that Python keeps beside them."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


@pytest.mark.slow  # spawned workers import torch anew after every kill
def test_one_worker_and_two_that_are_killed_give_the_same_verdict_bytes(tmp_path: Path) -> None:
    calm, rough, log = tmp_path / "calm", tmp_path / "rough", tmp_path / "log"
    folder = whole_study(calm, workers=1)
    chance, killed = random.Random(3), list[str]()
    process = started(rough, log)
    try:
        for place, fits, victim in PLAN:
            workers = list[psutil.Process]()
            while sum(1 for _ in rough.glob(f"studies/*/{place}/*/DONE")) < fits or not workers:
                assert process.poll() is None, log.read_text()[-3000:]
                workers = workers_of(process)
                time.sleep(0.02)
            if victim == "program":  # its workers die with it, and nobody is left to put a trial away
                process.kill()
                process.wait()
                process = started(rough, log)
            else:
                chance.choice(workers).kill()
            killed.append(victim)
        assert process.wait() == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
    assert killed == [victim for _, _, victim in PLAN]
    assert (rough / folder.relative_to(calm) / "report.json").is_file()
    assert bytes_of(rough) == bytes_of(calm)
