"""A pool of worker processes, one core and one torch thread each. A worker is a function of its job, nothing else.

A worker may be killed at any moment: another one takes its job. Queue and results belong to the asking process alone.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from cappuccino_ml.core import CappuccinoError, Settings

_TAKEN = (None, "taken")
Job = TypeVar("Job", bound=Settings)
Result = TypeVar("Result")
ATTEMPTS = 5  # workers that may die over one job before it is held to be the cause
STARTS = 20  # workers that may die one after another before any of them has taken a job


class WorkerDied(CappuccinoError):  # noqa: N818 - the name people see as a trial's state
    """Every worker that took a job died of it, as when it needs more memory than there is."""


class Workers:
    """Processes that live as long as the `with` block; with one there is none, and jobs run in this process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Task] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in [*self._idle, *(task.worker for task in self._busy.values())]:
            worker.stop()

    def run(
        self,
        function: Callable[[Job], Result],
        queue: deque[Job],
        *,
        lost: Callable[[Job, WorkerDied], Result] | None = None,
    ) -> Iterator[tuple[Job, Result]]:
        """Run `function` over the jobs in `queue`, from its left -> (job, result) as they finish.

        The caller may put further jobs into the queue between two results. What a job raises is raised here.

        Args:
            function: of a module, not a closure: it travels to the workers by name.
            queue: emptied as jobs are taken.
            lost: gives the result of a job that killed every worker it had; without it `WorkerDied` is raised.
        """
        if self._count == 1:
            yield from _in_this_process(function, queue)
            return
        again: deque[tuple[Job, int]] = deque()
        false_starts = 0
        while queue or again or self._busy:
            self._hand_out(function, queue, again)
            for pipe in wait(list(self._busy)):
                task = self._busy[cast(Connection, pipe)]
                answer = task.worker.take()
                if answer == _TAKEN:
                    task.taken, false_starts = True, 0
                    continue
                del self._busy[task.worker.pipe]
                if answer is not None:
                    self._idle.append(task.worker)
                    good, value = answer
                    if not good:
                        raise value
                    yield task.job, value
                elif task.taken and task.attempt == ATTEMPTS:
                    died = _died(f"{ATTEMPTS} workers died over one job", task.worker)
                    if lost is None:
                        raise died
                    yield task.job, lost(task.job, died)
                else:
                    again.append((task.job, task.attempt + task.taken))
                    false_starts += not task.taken
                    if false_starts == STARTS:
                        raise _died(f"{STARTS} workers died before they took a job", task.worker)

    def _hand_out(self, function: Callable[[Job], Result], queue: deque[Job], again: "deque[tuple[Job, int]]") -> None:
        """Give everyone who is free a job, those that lost their worker first."""
        while (queue or again) and len(self._busy) < self._count:
            job, attempt = again.popleft() if again else (queue.popleft(), 1)
            worker = self._idle.pop() if self._idle else _Worker()
            if worker.give(function, job):
                self._busy[worker.pipe] = _Task(worker, job, attempt)
            else:
                again.append((job, attempt))  # it died idle: that says nothing about the job


def run_jobs(function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int) -> Iterator[tuple[Job, Result]]:
    """Run `function` over `jobs` -> (job, result) as they finish. An exception in a job is raised here.

    With one worker the jobs run in this process, on one torch thread, in order: the results are the same bytes.
    """
    queue = deque(jobs)
    with Workers(min(workers, max(1, len(queue)))) as pool:
        yield from pool.run(function, queue)


@dataclass
class _Task:
    """What a worker has been given."""

    worker: "_Worker"
    job: Any
    attempt: int
    taken: bool = False  # it said so: before, it was starting, and its death says nothing about the job


def _died(what: str, worker: "_Worker") -> WorkerDied:
    return WorkerDied(
        f"{what}, the last with exit code {worker.stop()}; give the machine more memory or the job less to do."
    )


class _Worker:
    """One process and our end of its pipe."""

    def __init__(self) -> None:
        # Spawned, not forked: torch's and Arrow's threads do not survive a fork.
        os.environ["OMP_NUM_THREADS"] = "1"
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that its death ends the pipe

    def give(self, function: Callable[[Any], Any], job: Settings) -> bool:
        """Hand over a job; False if nobody is there to take it."""
        try:
            self.pipe.send((function, job))
        except OSError:
            self.stop()
            return False
        return True

    def take(self) -> tuple[bool | None, Any] | None:
        """`_TAKEN`, or whether the answer is a result, and the result or the exception. None if the process died."""
        try:
            answer: tuple[bool | None, Any] = self.pipe.recv()
        except (EOFError, OSError):  # at once or in the middle of a message
            self.stop()
            return None
        return answer

    def stop(self) -> int | None:
        """End the process -> its exit code. What it was writing is not yet in place, so nothing is left half."""
        self.pipe.close()
        self._process.kill()
        self._process.join()
        return self._process.exitcode


def _serve(pipe: Connection) -> None:
    import torch  # noqa: PLC0415 - in the worker only

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    while True:
        try:
            function, job = pipe.recv()
            pipe.send(_TAKEN)
        except (EOFError, OSError):  # nobody is left to work for
            return
        try:
            answer: tuple[bool, Any] = (True, function(job))
        except Exception as error:
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
            answer = (False, error)
        try:
            pipe.send(answer)
        except (TypeError, AttributeError, ValueError) as error:  # it cannot be sent; nothing has left yet
            pipe.send((False, RuntimeError(f"what a worker had to say cannot be sent ({error}): {answer[1]!r}")))


def _die_with_the_parent() -> None:
    """No worker outlives a killed parent: the next one would train beside it into the same folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _in_this_process(function: Callable[[Job], Result], queue: deque[Job]) -> Iterator[tuple[Job, Result]]:
    import torch  # noqa: PLC0415 - heavy, and not every user of this module trains

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        while queue:
            job = queue.popleft()
            yield job, function(job)
    finally:
        torch.set_num_threads(threads)
