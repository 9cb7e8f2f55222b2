"""The machine: processor, memory, disk, GPU if there is one, and the processes that work on one state folder."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

_MARKS = ("cappuccino", "dagster", "mlflow")
_GPU_QUERY = "--query-gpu=name,utilization.gpu,memory.used,memory.total"
_GPU_TIMEOUT_S = 3.0
_CLOCK_TOLERANCE_S = 1.0  # of the time at which a process began


@dataclass(frozen=True)
class Worker:
    """One of our processes."""

    pid: int
    what: str
    cpu_percent: float  # of one core
    memory: int  # bytes, resident
    since: datetime


@dataclass(frozen=True)
class Machine:
    """What is left to work with."""

    cores: int
    cpu_percent: float  # of all cores
    load: float  # runnable processes, mean of a minute
    memory_used: int  # bytes
    memory_total: int
    disk_free: int  # where the state folder lies
    gpus: tuple[str, ...]
    workers: tuple[Worker, ...]


def began(pid: int) -> datetime:
    """When the living process of this number began, by the machine's clock."""
    return datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)


def lives(pid: int, *, since: datetime) -> bool:
    """Whether the process that had this number at `since` is still there; a later one may have been given it again."""
    try:
        process = psutil.Process(pid)
        same = process.create_time() <= since.timestamp() + _CLOCK_TOLERANCE_S
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Meter:
    """Looks again and again: the share of a processor is what was used since the look before, 0 at the first one."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._known: dict[int, psutil.Process] = {}
        self._nvidia_smi = shutil.which("nvidia-smi")

    def look(self) -> Machine:
        """The machine now."""
        memory = psutil.virtual_memory()
        return Machine(
            cores=psutil.cpu_count() or 1,
            cpu_percent=psutil.cpu_percent(),
            load=os.getloadavg()[0],
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            disk_free=shutil.disk_usage(self._state).free,
            gpus=self._gpus(),
            workers=self._workers(),
        )

    def _workers(self) -> tuple[Worker, ...]:
        """Our processes that work on this state folder, the busiest first; this one is not among them."""
        found = {}
        for seen in psutil.process_iter():
            known = self._known.get(seen.pid)
            process = known if known == seen else seen  # the known one remembers the look before
            try:
                if process.pid != os.getpid() and _works_on(process, self._state):
                    found[process] = Worker(
                        pid=process.pid,
                        what=_what(process.cmdline()),
                        cpu_percent=process.cpu_percent(),
                        memory=process.memory_info().rss,
                        since=datetime.fromtimestamp(process.create_time(), UTC),
                    )
            except (psutil.Error, OSError):
                continue  # gone meanwhile, or another user's
        self._known = {process.pid: process for process in found}
        return tuple(sorted(found.values(), key=lambda worker: (-worker.cpu_percent, worker.pid)))

    def _gpus(self) -> tuple[str, ...]:
        """`name, 37 % busy, 1024 of 8192 MB` for each; asking torch would take 2 s and some of their memory."""
        if self._nvidia_smi is None:
            return ()
        command = [self._nvidia_smi, _GPU_QUERY, "--format=csv,noheader,nounits"]
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=_GPU_TIMEOUT_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return (f"nvidia-smi does not answer ({type(error).__name__})",)
        lines = [[part.strip() for part in line.split(",")] for line in asked.stdout.splitlines() if line.strip()]
        return tuple(
            f"{line[0]}, {line[1]} % busy, {line[2]} of {line[3]} MB" if len(line) == 4 else ", ".join(line)
            for line in lines
        )


def _works_on(process: psutil.Process, state: Path) -> bool:
    """Started by us or a child of such a one, and with this state folder in its environment (or the default one)."""
    if "python" not in process.name() and "cappuccino" not in process.name():
        return False
    line = process.cmdline()
    spawned = any("multiprocessing" in part for part in line)
    if not spawned and not any(mark in Path(part).name for part in line[:4] for mark in _MARKS):
        return False
    if spawned and not any(_is_ours(parent) for parent in process.parents()):
        return False
    from cappuccino_pipeline.configuration import REPOSITORY  # noqa: PLC0415 - keeps this file free of settings

    given = process.environ().get("CAPPUCCINO_STATE", "").strip()
    folder = Path(process.cwd(), Path(given).expanduser()) if given else REPOSITORY / "data_lake"
    return folder.resolve() == state.resolve()


def _is_ours(process: psutil.Process) -> bool:
    try:
        return any(mark in Path(part).name for part in process.cmdline()[:4] for mark in _MARKS)
    except psutil.Error:
        return False


def _what(line: list[str]) -> str:
    """A command line in three words."""
    if any("multiprocessing" in part for part in line):
        return "tracker" if any("resource_tracker" in part for part in line) else "worker"
    names = [Path(part).name for part in line if not part.startswith("-")]
    for mark in _MARKS:
        for place, name in enumerate(names):
            if mark in name:
                return " ".join([name.split(".")[0], *names[place + 1 : place + 2]])
    return names[0] if names else "?"
