"""How long the commands and the definitions take to start: whole processes, processor time and wall time."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

RUNS = 3
TARGETS_S = {  # whole process; on a machine that is busy otherwise only the processor time says something
    "cappuccino --help": 1.0,
    "cappuccino status (empty)": 2.0,
    "cappuccino monitor --once (empty)": 2.0,
    "cappuccino doctor (empty)": 5.0,
    "definitions": 5.0,
}
COMMANDS = {
    "cappuccino --help": ["-m", "cappuccino_pipeline", "--help"],
    "cappuccino status (empty)": ["-m", "cappuccino_pipeline", "status"],
    "cappuccino monitor --once (empty)": ["-m", "cappuccino_pipeline", "monitor", "--once"],
    "cappuccino doctor (empty)": ["-m", "cappuccino_pipeline", "doctor"],
    "definitions": ["-c", "from cappuccino_pipeline.definitions import defs; defs.get_repository_def()"],
}


@dataclass(frozen=True)
class Start:
    what: str
    wall_s: float  # the quickest of the runs
    cpu_s: float  # user and system time of that kind, the least of the runs
    target_s: float
    met: bool


def measure(what: str, arguments: list[str], *, state: Path) -> Start:
    """Start it `RUNS` times after one that warms the disk's cache."""
    walls, cpus = [], []
    environment = os.environ | {"CAPPUCCINO_STATE": str(state), "OMP_NUM_THREADS": "1"}
    for _ in range(1 + RUNS):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - began)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    cpu, target = min(cpus[1:]), TARGETS_S[what]
    return Start(what=what, wall_s=round(min(walls[1:]), 2), cpu_s=round(cpu, 2), target_s=target, met=cpu < target)


def main() -> None:
    with tempfile.TemporaryDirectory() as state:
        starts = [measure(what, arguments, state=Path(state)) for what, arguments in COMMANDS.items()]
    print(f"{'':36}{'wall':>8}{'CPU':>8}{'target':>9}")
    for start in starts:
        said = "met" if start.met else "NOT met"
        print(f"{start.what:36}{start.wall_s:6.2f} s{start.cpu_s:6.2f} s{start.target_s:7.1f} s  {said}")
    print(f"the quickest of {RUNS} starts; a target is met by processor time")
    print(json.dumps({"benchmark": "startup", "starts": [asdict(start) for start in starts]}))


if __name__ == "__main__":
    main()
