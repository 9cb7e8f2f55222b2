"""The pool: kills cost time and nothing else, a job that kills is named, and no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import psutil
import pytest

from cappuccino_ml.core import CappuccinoError, Settings
from cappuccino_ml.study import WorkerDied, Workers, run_jobs
from cappuccino_ml.study import workers as module


class Note(Settings):
    """A job that leaves a mark each time it is begun."""

    folder: Path
    name: str
    deaths: int = 0


def begin(job: Note) -> str:
    marks = len(list(job.folder.glob(f"{job.name}.*")))
    (job.folder / f"{job.name}.{marks}").touch()
    if marks < job.deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{job.name} in {os.getpid()}"


def refuse(job: Note) -> str:
    raise CappuccinoError(f"{job.name} is not to be done; choose another.")


def wait_for_ever(job: Note) -> str:
    begin(job)
    time.sleep(600)
    return job.name


@pytest.mark.slow  # starts processes only to end them
def test_killed_workers_jobs_are_taken_over_and_a_job_that_kills_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    queue = deque(Note(folder=tmp_path, name=name, deaths=deaths) for name, deaths in (("a", 1), ("b", 9), ("c", 0)))
    lost: list[str] = []
    with Workers(2) as pool:
        found = {}
        for job, result in pool.run(begin, queue, lost=lambda job, error: str(error)):
            found[job.name] = result
            if job.name == "c":
                queue.append(Note(folder=tmp_path, name="late"))
            lost += [job.name] if "died" in result else []
        pids = {int(result.split()[-1]) for name, result in found.items() if name != "b"}
    assert set(found) == {"a", "b", "c", "late"}
    assert lost == ["b"]
    assert found["b"].startswith("2 workers died over one job, the last with exit code -9; ")
    assert len(list(tmp_path.glob("a.*"))) == len(list(tmp_path.glob("b.*"))) == 2
    assert os.getpid() not in pids
    assert not any(psutil.pid_exists(pid) for pid in pids), "they end with the block"


@pytest.mark.slow  # as above
def test_a_lost_job_and_a_refusal_are_raised_where_nobody_asks_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    jobs = [Note(folder=tmp_path, name=name, deaths=9) for name in ("a", "b")]
    with pytest.raises(WorkerDied, match="1 workers died over one job"):
        list(run_jobs(begin, jobs, workers=2))
    with pytest.raises(CappuccinoError, match="is not to be done") as caught:
        list(run_jobs(refuse, jobs, workers=2))
    assert "in refuse" in "".join(caught.value.__notes__), "the worker's stack is kept"


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    jobs = [Note(folder=tmp_path, name=name) for name in ("a", "b")]
    assert [result for _, result in run_jobs(begin, jobs, workers=1)] == [f"{n} in {os.getpid()}" for n in ("a", "b")]


@pytest.mark.slow  # as above
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from tests.study.test_workers import Note, wait_for_ever\n"
        "from cappuccino_ml.study import run_jobs\n"
        f"jobs = [Note(folder=Path({str(tmp_path)!r}), name=name) for name in ('a', 'b')]\n"
        "if __name__ == '__main__': list(run_jobs(wait_for_ever, jobs, workers=2))\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)}, cwd=root)
    while len(list(tmp_path.glob("?.0"))) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
