"""The A/B study: trials of both arms on the same folds, seeds and steps; whatever is finished is never run twice."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from pydantic import Field, FiniteFloat, JsonValue

from cappuccino_ml.core import (
    CappuccinoError,
    LakeError,
    Settings,
    code_version,
    derive_seed,
    digest,
    is_done,
    mark_done,
    read_settings,
    write_json,
)
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.metrics import mean_over_folds
from cappuccino_ml.policy import AGENT_ROOMS, Arm, TrainingSettings
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.encoders import DEPLOYMENT, EncoderJob
from cappuccino_ml.study.fitting import FitJob, FitResult, fit
from cappuccino_ml.study.search import Sampler, SearchSpace, allocation
from cappuccino_ml.study.workers import run_jobs

Progress = Callable[[str], None]
JOURNAL = "journal.log"
_RESULT = "study.json"


class StudySettings(Settings):
    """What a study does; two studies with equal settings, data, code and seed have one key."""

    trials_per_side: int = Field(4, ge=1, description="FT trials, and as many mlp trials")
    generation: int = Field(
        8, ge=1, description="trials asked together; the sampler learns from earlier generations only"
    )
    space: SearchSpace = SearchSpace()
    seed: int = 7


class TrialResult(Settings):
    """One trial: what it tried and what it earned on each fold."""

    number: int
    arm: Arm
    state: Literal["complete", "failed"]
    value: FiniteFloat | None  # mean over folds of the annualised net Sharpe
    fold_sharpes: tuple[FiniteFloat, ...]
    fold_jobs: tuple[str, ...]
    turnover_per_day: float
    steps: int
    parameters: int
    params: dict[str, JsonValue]
    training: TrainingSettings
    error: str | None = None


class StudyResult(Settings):
    """All trials of a study, in order."""

    key: str
    dataset_key: str
    settings: StudySettings
    trials: tuple[TrialResult, ...]

    @property
    def completed(self) -> tuple[TrialResult, ...]:
        """Trials that have a value."""
        return tuple(trial for trial in self.trials if trial.value is not None)

    def best(self, side: Literal["mlp", "ft"] | None = None) -> TrialResult:
        """The trial with the highest value (the earlier one on a tie), of one side or of all.

        Raises:
            CappuccinoError: no such trial completed.
        """
        pool = [t for t in self.completed if side is None or (t.arm == "mlp") == (side == "mlp")]
        if not pool:
            reasons = "; ".join(sorted({t.error for t in self.trials if t.error})) or "none was asked for"
            raise CappuccinoError(f"no {side or ''} trial of study {self.key} completed: {reasons}")
        return max(pool, key=lambda trial: (trial.value, -trial.number))


class _Outcome(Settings):
    result: FitResult | None = None
    error: str | None = None


def _try(job: FitJob) -> _Outcome:
    try:
        return _Outcome(result=fit(job))
    except CappuccinoError as error:  # a diverged trial is a finding about its settings; a bug is not, and is raised
        return _Outcome(error=str(error))


def _code() -> str:
    """Version of all the code that shapes a trial."""
    return code_version(*AGENT_ROOMS, "study")


def study_key(dataset: Dataset, settings: StudySettings, encoders: Mapping[str, EncoderJob]) -> str:
    """Names the study and its folder."""
    identity = {
        "dataset": dataset.key,
        "settings": settings.model_dump(mode="json"),
        "encoders": {name: job.key for name, job in encoders.items()},
        "code": _code(),
    }
    return digest(identity)[:16]


def run_study(
    dataset: Dataset,
    settings: StudySettings,
    *,
    encoders: Mapping[str, EncoderJob],
    root: Path,
    workers: int,
    say: Progress,
) -> StudyResult:
    """Run the trials that are not finished yet and return all of them.

    Args:
        dataset: frozen data with its folds.
        settings: arms, trials, ranges.
        encoders: the pre-trained encoders by name, all finished.
        root: folder of studies; this one gets a folder named by its key.
        workers: parallel processes. They change the wall time, not the result.
        say: told one line per finished trial.
    """
    key = study_key(dataset, settings, encoders)
    folder = root / key
    if is_done(folder):
        return read_settings(StudyResult, folder / _RESULT)
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=key,
        storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        sampler=Sampler(seed=settings.seed),
        direction="maximize",
        load_if_exists=True,
    )
    arms = allocation(settings.trials_per_side)
    results: list[TrialResult] = []
    pretrained = encoders[DEPLOYMENT].encoder
    for start in range(0, len(arms), settings.generation):
        generation = {
            number: _ask(study, number, arms[number], settings.space, pretrained)
            for number in range(start, min(start + settings.generation, len(arms)))
        }
        jobs = {
            (number, index): _fold_job(dataset, settings, training, encoders, folder, number=number, index=index)
            for number, training in generation.items()
            for index in range(len(dataset.splits.folds))
        }
        outcomes: dict[tuple[int, int], _Outcome] = {}
        where = {job.key: place for place, job in jobs.items()}
        for job, outcome in run_jobs(_try, jobs.values(), workers=workers):
            outcomes[where[job.key]] = outcome
            number = where[job.key][0]
            folds = [outcomes.get((number, index)) for index in range(len(dataset.splits.folds))]
            if all(fold is not None for fold in folds):
                trial = _trial(study, number, generation[number], [f for f in folds if f is not None], jobs)
                say(_line(trial, done=len(results) + 1, total=len(arms)))
                results.append(trial)
        for trial in sorted(results, key=lambda t: t.number)[start:]:
            _tell(study, trial)
    ordered = tuple(sorted(results, key=lambda trial: trial.number))
    result = StudyResult(key=key, dataset_key=dataset.key, settings=settings, trials=ordered)
    write_json(folder / _RESULT, result)
    mark_done(folder)
    return result


def load_study(folder: Path) -> StudyResult:
    """Read a finished study.

    Raises:
        LakeError: it is not finished.
    """
    if not is_done(folder):
        raise LakeError(f"{folder} holds no finished study (no DONE mark); materialize optuna_study again.")
    return read_settings(StudyResult, folder / _RESULT)


def finalist_job(
    dataset: Dataset, result: StudyResult, trial: TrialResult, *, encoders: Mapping[str, EncoderJob], root: Path
) -> FitJob:
    """Refit a trial's configuration on all development rows. These very weights are judged, registered and deployed."""
    return _job(
        dataset,
        trial.training,
        train_rows=dataset.splits.development,
        test_rows=None,
        seed=derive_seed(result.settings.seed, "finalist", trial.number),
        encoder=encoders[DEPLOYMENT],
        root=root / result.key / "finalists",
    )


def _ask(
    study: optuna.Study, number: int, arm: Arm, space: SearchSpace, pretrained: EncoderSettings
) -> TrainingSettings:
    """The settings of trial `number`: asked now, or as they were asked before an interruption."""
    known = study.get_trials(deepcopy=False)
    trial = optuna.trial.Trial(study, known[number]._trial_id) if number < len(known) else study.ask()
    if number < len(known) and known[number].state != TrialState.RUNNING:
        return TrainingSettings.model_validate_json(known[number].user_attrs["training"])
    training = space.sample(trial, arm, pretrained=pretrained)
    trial.set_user_attr("arm", arm)
    trial.set_user_attr("training", training.model_dump_json())
    return training


def _fold_job(
    dataset: Dataset,
    settings: StudySettings,
    training: TrainingSettings,
    encoders: Mapping[str, EncoderJob],
    folder: Path,
    *,
    number: int,
    index: int,
) -> FitJob:
    fold = dataset.splits.folds[index]
    return _job(
        dataset,
        training,
        train_rows=fold.train,
        test_rows=fold.test,
        seed=derive_seed(settings.seed, "trial", number, "fold", index),
        encoder=encoders[f"fold-{index}"],
        root=folder / "trials",
    )


def _job(
    dataset: Dataset,
    training: TrainingSettings,
    *,
    train_rows: tuple[int, int],
    test_rows: tuple[int, int] | None,
    seed: int,
    encoder: EncoderJob,
    root: Path,
) -> FitJob:
    pretrained = training.agent.arm == "ft_pretrained"
    return FitJob(
        dataset_folder=dataset.folder,
        dataset_key=dataset.key,
        train_rows=train_rows,
        test_rows=test_rows,
        training=training,
        seed=seed,
        encoder_folder=encoder.folder if pretrained else None,
        encoder_key=encoder.key if pretrained else None,
        code=_code(),
        root=root,
    )


def _trial(
    study: optuna.Study,
    number: int,
    training: TrainingSettings,
    folds: list[_Outcome],
    jobs: Mapping[tuple[int, int], FitJob],
) -> TrialResult:
    results = [fold.result for fold in folds if fold.result]
    errors = [fold.error for fold in folds if fold.error]
    sharpes = tuple(result.sharpe for result in results)
    return TrialResult(
        number=number,
        arm=training.agent.arm,
        state="failed" if errors else "complete",
        value=None if errors else mean_over_folds(sharpes, folds=len(folds)),
        fold_sharpes=sharpes,
        fold_jobs=tuple(jobs[number, index].key for index in range(len(folds))),
        turnover_per_day=sum(result.turnover_per_day for result in results) / max(1, len(results)),
        steps=sum(result.steps for result in results),
        parameters=max((result.parameters for result in results), default=0),
        params=json.loads(json.dumps(study.get_trials(deepcopy=False)[number].params)),
        training=training,
        error=errors[0] if errors else None,
    )


def _tell(study: optuna.Study, trial: TrialResult) -> None:
    if study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:
        state = TrialState.COMPLETE if trial.value is not None else TrialState.FAIL
        study.tell(trial.number, trial.value, state=state)


def _line(trial: TrialResult, *, done: int, total: int) -> str:
    if trial.value is None:
        return f"trial {done}/{total}  #{trial.number} {trial.arm:<13} failed: {trial.error}"
    folds = ", ".join(f"{sharpe:+.2f}" for sharpe in trial.fold_sharpes)
    return f"trial {done}/{total}  #{trial.number} {trial.arm:<13} net Sharpe {trial.value:+.2f} (folds {folds})"
