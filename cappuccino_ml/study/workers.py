"""A pool of worker processes, one core and one torch thread each. A worker is a function of its job, nothing else."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from cappuccino_ml.core import Settings

Job = TypeVar("Job", bound=Settings)
Result = TypeVar("Result")


def _one_thread() -> None:
    import torch  # noqa: PLC0415 - in the worker only

    torch.set_num_threads(1)


def run_jobs(function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int) -> Iterator[tuple[Job, Result]]:
    """Run `function` over `jobs` -> (job, result) as they finish. An exception in a job is raised here.

    With one worker the jobs run in this process, on one torch thread, in order: the results are the same bytes.
    """
    jobs = list(jobs)
    if workers == 1 or len(jobs) == 1:
        yield from _in_this_process(function, jobs)
        return
    # Spawned, not forked: torch's and Arrow's threads do not survive a fork.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_one_thread) as pool:
        waiting = {pool.submit(function, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _in_this_process(function: Callable[[Job], Result], jobs: list[Job]) -> Iterator[tuple[Job, Result]]:
    import torch  # noqa: PLC0415 - heavy, and not every user of this module trains

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in jobs:
            yield job, function(job)
    finally:
        torch.set_num_threads(threads)
