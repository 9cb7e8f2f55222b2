"""Variants side by side: trainings that differ in one stated thing, at equal steps and seeds, measured on test rows."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import Settings, is_done, read_json, write_json
from cappuccino_ml.study.fitting import FitJob, FitResult, fit, read_returns
from cappuccino_ml.study.workers import run_jobs

Jobs = Mapping[tuple[str, int], FitJob]  # by variant and seed (0, 1, ...)


class Variant(Settings):
    """One thing tried, and what it is compared with."""

    name: str
    factor: str  # what is varied
    against: tuple[str, ...] = ()  # names of the variants it is compared with


class VariantRun(Settings):
    """One training of a variant, measured net of costs on rows it never saw."""

    variant: str
    seed: int  # 0, 1, ...
    sharpe: float  # annual
    turnover_per_day: float
    max_drawdown: float
    bars: int  # measured
    parameters: int
    wall_s: float | None  # training and measuring, as it went on this machine; None where it was interrupted
    job_key: str


class _TimedFit(Settings):
    result: FitResult
    wall_s: float | None


def fit_and_time(job: FitJob) -> _TimedFit:
    """`fit`, and the seconds it took when it was done: kept beside the result, because they are not part of it."""
    note = job.root / "wall_time" / f"{job.key}.json"
    if not is_done(job.folder):
        whole = not (job.root / f".{job.key}.resume").exists()
        began = time.perf_counter()
        result = fit(job)
        write_json(note, {"wall_s": time.perf_counter() - began if whole else None})
    else:
        result = fit(job)
    return _TimedFit(result=result, wall_s=read_json(note)["wall_s"] if note.is_file() else None)


def run_variants(jobs: Jobs, *, workers: int, say: Callable[[str], None]) -> tuple[VariantRun, ...]:
    """Run what is not finished yet and collect all of it, in the order of `jobs`.

    Args:
        jobs: by variant and seed. A job that two variants share is done once and counts for both.
        workers: parallel processes; they change the wall time, not the result.
        say: told one line per finished training.
    """
    places: dict[str, list[tuple[str, int]]] = {}
    for place, job in jobs.items():
        places.setdefault(job.key, []).append(place)
    found: dict[tuple[str, int], VariantRun] = {}
    for job, timed in run_jobs(fit_and_time, {job.key: job for job in jobs.values()}.values(), workers=workers):
        result = timed.result
        for variant, seed in places[job.key]:
            found[variant, seed] = VariantRun(
                variant=variant,
                seed=seed,
                sharpe=result.sharpe,
                turnover_per_day=result.turnover_per_day,
                max_drawdown=result.max_drawdown,
                bars=result.bars,
                parameters=result.parameters,
                wall_s=timed.wall_s,
                job_key=job.key,
            )
            say(f"{len(found)}/{len(jobs)}  {variant}, seed {seed}: net Sharpe {result.sharpe:+.2f}")
    return tuple(found[place] for place in jobs)


def runs_side_by_side(runs: tuple[VariantRun, ...], *, root: Path) -> NDArray[np.float64]:
    """Net return per bar of equal parts of the runs' agents, put together anew each bar; all on the same rows."""
    return np.asarray(np.mean([read_returns(root / run.job_key) for run in runs], axis=0))
