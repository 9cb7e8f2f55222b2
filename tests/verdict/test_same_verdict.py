"""How many workers there were, and how often one was killed, cannot be read from a verdict."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .whole_study import whole_study

KILLS = 3
ROOT = Path(__file__).parents[2]


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every stored report and reading of a holdout below a state folder."""
    files = sorted((folder / "verdicts").rglob("*.json")) + sorted((folder / "verdicts").rglob("*.parquet"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def started(state: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.verdict.whole_study", str(state), "2"]
    with log.open("ab") as lines:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=lines, stderr=lines, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Spawned workers of the pool, without the helper process that Python keeps beside them."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def fits(state: Path) -> int:
    """Folders of fits, finished or begun: grows whenever a worker gets to work."""
    return sum(1 for _ in state.glob("studies/*/*/*"))


@pytest.mark.slow  # spawned workers import torch anew after every kill
def test_one_worker_and_two_that_are_killed_give_the_same_verdict_bytes(tmp_path: Path) -> None:
    calm, rough, log = tmp_path / "calm", tmp_path / "rough", tmp_path / "log"
    folder = whole_study(calm, workers=1)
    chance, killed = random.Random(3), 0
    process = started(rough, log)
    deadline = time.monotonic() + 600
    while killed < KILLS and time.monotonic() < deadline:
        before = fits(rough)
        while fits(rough) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        victims = workers_of(process)
        if victims and process.poll() is None:
            everything = killed % 2 == 1  # every other time the whole program: nobody is left to put a trial away
            for victim in victims if everything else [chance.choice(victims)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)
            if everything:
                process.kill()
                process.wait()
            killed += 1
        if process.poll() == 0:
            break
        if process.poll() is not None:
            process = started(rough, log)
    while process.wait(600) != 0:
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        process = started(rough, log)
    assert killed == KILLS, log.read_text()[-3000:]
    assert (rough / folder.relative_to(calm) / "report.json").is_file()
    assert bytes_of(rough) == bytes_of(calm)
