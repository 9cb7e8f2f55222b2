"""The A/B study: trials of both arms on the same folds, seeds and steps; whatever is finished is never run twice.

A study is a function of its data, settings, encoders and code. Worker count, the order in which jobs end and kills, of
workers or of the whole, change how long it takes and nothing else.
"""

import json
import shutil
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cappuccino_ml.core import Settings, digest, is_done, mark_done, read_settings, write_json
from cappuccino_ml.metrics import mean_over_folds
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.encoders import DEPLOYMENT, EncoderJob
from cappuccino_ml.study.fitting import FitJob, FitResult, fit
from cappuccino_ml.study.jobs import code_of_trials, finalist_job, fold_job
from cappuccino_ml.study.journal import Journal, sole_worker
from cappuccino_ml.study.progress import Meter, Progress
from cappuccino_ml.study.pruning import judge
from cappuccino_ml.study.results import (
    RESULT,
    Failure,
    Pruned,
    StudyResult,
    StudySettings,
    TrialResult,
    load_study,
)
from cappuccino_ml.study.sampling import Asked, ask_generation
from cappuccino_ml.study.search import allocation
from cappuccino_ml.study.workers import WorkerDied, Workers

__all__ = [
    "Outcome",
    "StudyResult",
    "StudySettings",
    "TrialResult",
    "finalist_job",
    "load_study",
    "run_study",
    "study_key",
]


class Outcome(Settings):
    """What came of one fold of a trial: a result or a failure."""

    result: FitResult | None = None
    failure: Failure | None = None


@dataclass
class _Running:
    """A trial whose folds are being measured."""

    asked: Asked
    jobs: list[FitJob]  # one per fold
    results: list[FitResult] = field(default_factory=list)
    failure: Failure | None = None
    pruned: Pruned | None = None

    @property
    def sharpes(self) -> tuple[float, ...]:
        return tuple(result.sharpe for result in self.results)

    @property
    def ended(self) -> bool:
        return bool(self.failure or self.pruned or len(self.results) == len(self.jobs))


def study_key(dataset: Dataset, settings: StudySettings, encoders: Mapping[str, EncoderJob]) -> str:
    """Names the study and its folder."""
    identity = {
        "dataset": dataset.key,
        "settings": settings.model_dump(mode="json"),
        "encoders": {name: job.key for name, job in encoders.items()},
        "code": code_of_trials(),
    }
    return digest(identity)[:16]


def run_study(
    dataset: Dataset,
    settings: StudySettings,
    *,
    encoders: Mapping[str, EncoderJob],
    root: Path,
    workers: int,
    say: Callable[[str], None],
    watch: Callable[[Progress], None] = lambda progress: None,
    now: Callable[[], float] = time.monotonic,
) -> StudyResult:
    """Run the trials that are not finished yet and return all of them.

    Args:
        dataset: frozen data with its folds.
        settings: arms, trials, ranges.
        encoders: the pre-trained encoders by name, all finished.
        root: folder of studies; this one gets a folder named by its key.
        workers: parallel processes. They change the wall time, not the result.
        say: told one line per ended trial.
        watch: told how far the study is, after each.
        now: a clock in seconds, for velocity and time left only.

    Raises:
        LakeError: another process is at work on the same study.
    """
    key = study_key(dataset, settings, encoders)
    folder = root / key
    if is_done(folder):
        return read_settings(StudyResult, folder / RESULT)
    with sole_worker(folder), Workers(workers) as pool:
        arms = allocation(settings.trials_per_side)
        journal = Journal(folder, key=key)
        meter = Meter(folder, study=key, total=len(arms), workers=workers, now=now)
        known = journal.results()
        # Only whole generations are taken as they are: the rest of a broken one is asked again, with the same answer.
        results = known[: len(known) // settings.generation * settings.generation]
        meter.found(results)
        while len(results) < len(arms):
            start = len(results)
            asked = ask_generation(
                journal.trials()[:start],
                arms[start : start + settings.generation],
                space=settings.space,
                pretrained=encoders[DEPLOYMENT].encoder,
                seed=settings.seed,
            )
            running = {
                trial.number: _Running(
                    trial,
                    [
                        fold_job(
                            dataset,
                            trial.training,
                            encoders=encoders,
                            study_seed=settings.seed,
                            number=trial.number,
                            index=index,
                            root=folder / "trials",
                        )
                        for index in range(len(dataset.splits.folds))
                    ],
                )
                for trial in asked
            }

            def ended(trial: _Running) -> None:
                progress = meter.ended(_result(trial))
                say(_line(_result(trial), done=progress.done, total=progress.total))
                watch(progress)

            _run_generation(running, pool, earlier=results, prune_after=settings.prune_after, ended=ended)
            for trial in running.values():
                journal.record(trial.asked, _result(trial), trial.failure)
            results += [_result(trial) for trial in running.values()]
    result = StudyResult(key=key, dataset_key=dataset.key, settings=settings, trials=tuple(results))
    write_json(folder / RESULT, result)
    for left_behind in (folder / "trials").glob(".*"):  # of killed workers
        shutil.rmtree(left_behind, ignore_errors=True)
    mark_done(folder)
    return result


def _run_generation(
    running: Mapping[int, _Running],
    pool: Workers,
    *,
    earlier: Sequence[TrialResult],
    prune_after: int | None,
    ended: Callable[[_Running], None],
) -> None:
    """Measure every trial fold after fold until it ends."""
    trial_of = {job.key: trial for trial in running.values() for job in trial.jobs}
    queue = deque(trial.jobs[0] for trial in running.values())
    for job, outcome in pool.run(_try, queue, lost=_lost):
        trial = trial_of[job.key]
        if outcome.result is not None:
            trial.results.append(outcome.result)
            trial.pruned = judge(
                trial.sharpes,
                side="mlp" if trial.asked.arm == "mlp" else "ft",
                folds=len(trial.jobs),
                earlier=earlier,
                prune_after=prune_after,
            )
        else:
            trial.failure = outcome.failure
        if trial.ended:
            ended(trial)
        else:
            queue.appendleft(trial.jobs[len(trial.results)])


def _try(job: FitJob) -> Outcome:
    """Fit; whatever goes wrong is kept beside the job, is the trial's state, and is not tried again."""
    place = _place_of_failure(job)
    if place.is_file():
        return Outcome(failure=read_settings(Failure, place))
    try:
        return Outcome(result=fit(job))
    except Exception as error:  # a diverged trial, a bug, no memory: the study goes on, and says so
        return _failed(job, error, traceback.format_exc())


def _lost(job: FitJob, error: WorkerDied) -> Outcome:
    return _failed(job, error, "the process was killed and left none")


def _failed(job: FitJob, error: Exception, trace: str) -> Outcome:
    failure = Failure(kind=type(error).__name__, message=str(error), traceback=trace)
    write_json(_place_of_failure(job), failure)
    return Outcome(failure=failure)


def _place_of_failure(job: FitJob) -> Path:
    return job.root.parent / "failures" / f"{job.key}.json"


def _result(trial: _Running) -> TrialResult:
    results, asked = trial.results, trial.asked
    complete = trial.failure is None and trial.pruned is None
    return TrialResult(
        number=asked.number,
        arm=asked.arm,
        state="complete" if complete else "failed" if trial.failure else "pruned",
        value=mean_over_folds(trial.sharpes, folds=len(trial.jobs)) if complete else None,
        fold_sharpes=trial.sharpes,
        fold_jobs=tuple(job.key for job in trial.jobs[: len(results) + (trial.failure is not None)]),
        turnover_per_day=sum(result.turnover_per_day for result in results) / max(1, len(results)),
        steps=sum(result.steps for result in results),
        parameters=max((result.parameters for result in results), default=0),
        params=json.loads(json.dumps(asked.params)),
        training=asked.training,
        pruned=trial.pruned,
        error=trial.failure.sentence if trial.failure else None,
    )


def _line(trial: TrialResult, *, done: int, total: int) -> str:
    begin = f"trial {done}/{total}  #{trial.number} {trial.arm:<13}"
    folds = ", ".join(f"{sharpe:+.2f}" for sharpe in trial.fold_sharpes)
    if trial.pruned:
        return (
            f"{begin} pruned: {trial.pruned.value:+.2f} is below the median {trial.pruned.median:+.2f} (folds {folds})"
        )
    if trial.value is None:
        return f"{begin} failed: {trial.error}"
    return f"{begin} net Sharpe {trial.value:+.2f} (folds {folds})"
