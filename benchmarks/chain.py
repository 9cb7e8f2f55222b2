"""The whole demo on an empty state folder: wall time and peak memory, summed over all its processes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

TARGET_SECONDS, TARGET_GB = 300.0, 3.0


def proportional_set_size(process: psutil.Process) -> float:
    """GB of a process and its descendants; pages they share are counted once (PSS)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue  # it ended between the listing and the question
    return total / 1e9


def main() -> int:
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "CAPPUCCINO_STATE": state}
        began = time.monotonic()
        with (Path(state) / "demo.log").open("w") as log:
            demo = subprocess.Popen([sys.executable, "-m", "cappuccino_pipeline", "demo"], env=environment, stdout=log)
            process, peak = psutil.Process(demo.pid), 0.0
            while demo.poll() is None:
                peak = max(peak, proportional_set_size(process))
                time.sleep(0.5)
        seconds = time.monotonic() - began
        if demo.returncode:
            sys.stderr.write((Path(state) / "demo.log").read_text())
            return demo.returncode
    print(f"{'':24}{'measured':>12}{'target':>12}")
    print(f"{'wall time, s':24}{seconds:>12.1f}{'<= ' + format(TARGET_SECONDS, '.0f'):>12}")
    print(f"{'peak memory, GB PSS':24}{peak:>12.2f}{'<= ' + format(TARGET_GB, '.0f'):>12}")
    print(json.dumps({"seconds": round(seconds, 1), "peak_gb": round(peak, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
