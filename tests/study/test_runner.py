"""The study: killed anywhere it goes on to the same bytes; a trial that diverges is failed, and never best."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from cappuccino_ml.core import CappuccinoError, LakeError
from cappuccino_ml.policy import Actor
from cappuccino_ml.study import (
    FitJob,
    FitResult,
    Progress,
    StudyResult,
    StudySettings,
    finalist_job,
    fit,
    load_study,
    read_progress,
    read_returns,
    run_study,
    study_key,
)
from cappuccino_ml.study import runner as module
from cappuccino_ml.study.journal import Journal

from .conftest import SPACE, STUDY, Lab


class PowerCutError(BaseException):
    """Nothing may catch it."""


def quiet(_line: str) -> None:
    pass


def run(
    lab: Lab, root: Path, *, settings: StudySettings = STUDY, workers: int = 1, say: Callable[[str], None] = quiet
) -> StudyResult:
    return run_study(lab.dataset, settings, encoders=lab.encoders, root=root, workers=workers, say=say)


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, bytes]:
    root = tmp_path_factory.mktemp("undisturbed")
    result = run(lab, root)
    return result, (root / result.key / "study.json").read_bytes()


def stored(root: Path, result: StudyResult) -> bytes:
    return (root / result.key / "study.json").read_bytes()


def journal(root: Path, result: StudyResult) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(root / result.key / "journal.log"))
    return optuna.load_study(study_name=result.key, storage=optuna.storages.JournalStorage(backend))


def after(count: int) -> Callable[[str], None]:
    """Something to tell lines to, that cuts the power at line `count`."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == count:
            raise PowerCutError

    return say


def test_every_trial_is_there_with_its_arm_its_folds_and_its_settings(
    undisturbed: tuple[StudyResult, bytes], lab: Lab
) -> None:
    result, _ = undisturbed
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3]
    assert [trial.arm for trial in result.trials] == ["mlp", "ft_pretrained", "mlp", "ft_scratch"]
    assert result.key == study_key(lab.dataset, STUDY, lab.encoders)
    for trial in result.trials:
        assert trial.state == "complete"
        assert len(trial.fold_sharpes) == len(lab.dataset.splits.folds) == 2
        assert trial.value == pytest.approx(sum(trial.fold_sharpes) / 2)
        assert trial.steps == 2 * SPACE.steps
        assert trial.training.agent.arm == trial.arm


def test_defect_20_every_trial_and_fold_has_its_own_seed(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[FitJob] = []

    def note(job: FitJob) -> FitResult:
        jobs.append(job)
        return fake(job)

    monkeypatch.setattr(module, "fit", note)
    result = run(lab, tmp_path)
    assert len({job.seed for job in jobs}) == len({job.key for job in jobs}) == len(jobs) == 8
    finalist = finalist_job(lab.dataset, result, result.best("mlp"), encoders=lab.encoders, root=tmp_path)
    assert finalist.seed not in {job.seed for job in jobs}
    other = run(lab, tmp_path, settings=STUDY.model_copy(update={"seed": 8}))
    assert other.key != result.key
    assert not {job.seed for job in jobs[:8]} & {job.seed for job in jobs[8:]}
    assert [trial.params for trial in other.trials] != [trial.params for trial in result.trials]


def test_all_trials_of_a_fold_have_the_same_rows_and_steps(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[FitJob] = []
    monkeypatch.setattr(module, "fit", lambda job: (jobs.append(job), fake(job))[1])
    run(lab, tmp_path)
    folds = lab.dataset.splits.folds
    for index, fold in enumerate(folds):
        assert {(job.train_rows, job.test_rows) for job in jobs[index :: len(folds)]} == {(fold.train, fold.test)}
    assert {job.training.ppo.steps for job in jobs} == {SPACE.steps}


def test_a_finished_study_is_only_read(
    undisturbed: tuple[StudyResult, bytes], lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", fake)
    first = run(lab, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.setattr(module, "fit", lambda job: pytest.fail("a trial was run again"))
    assert run(lab, tmp_path) == first == load_study(tmp_path / first.key)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_an_interrupted_study_goes_on_to_the_same_bytes(
    trials: int, undisturbed: tuple[StudyResult, bytes], lab: Lab, tmp_path: Path
) -> None:
    result, undisturbed_bytes = undisturbed
    with pytest.raises(PowerCutError):
        run(lab, tmp_path, say=after(trials))
    with pytest.raises(LakeError, match="no finished study"):
        load_study(tmp_path / result.key)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(done) == 2 * trials
    assert run(lab, tmp_path) == result
    assert stored(tmp_path, result) == undisturbed_bytes
    assert done.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}.items()


@pytest.mark.parametrize("question", [0, 5, 17])
def test_a_study_killed_while_asking_asks_the_same_again(
    question: int, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", fake)
    settings = StudySettings(trials_per_side=6, generation=2, space=SPACE)
    suggest, asked = optuna.trial.Trial._suggest, 0
    limit = 10**6

    def counted(self: optuna.trial.Trial, *args: object, **named: object) -> object:
        nonlocal asked
        asked += 1
        if asked > limit:
            raise PowerCutError
        return suggest(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(optuna.trial.Trial, "_suggest", counted)
    calm = run(lab, tmp_path / "calm", settings=settings)
    last_generation = sum(len(trial.params) for trial in calm.trials[-2:])  # past the sampler's random beginning
    limit, asked = asked - last_generation + question, 0
    with pytest.raises(PowerCutError):
        run(lab, tmp_path / "cut", settings=settings)
    limit = 10**6
    assert run(lab, tmp_path / "cut", settings=settings) == calm
    assert stored(tmp_path / "cut", calm) == stored(tmp_path / "calm", calm)


@pytest.mark.parametrize("entry", [0, 1, 3])
def test_a_study_killed_while_recording_a_generation_goes_on_to_the_same_bytes(
    entry: int, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", fake)
    calm = run(lab, tmp_path / "calm")
    with monkeypatch.context() as patch:
        record, count = Journal.record, 0

        def cut(self: Journal, *args: object) -> None:
            nonlocal count
            if count == entry:
                raise PowerCutError
            count += 1
            record(self, *args)  # type: ignore[arg-type]

        patch.setattr(Journal, "record", cut)
        with pytest.raises(PowerCutError):
            run(lab, tmp_path / "cut")
    assert run(lab, tmp_path / "cut") == calm
    assert stored(tmp_path / "cut", calm) == stored(tmp_path / "calm", calm)


def test_no_trial_stays_running_in_the_journal(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit", fake)
    with pytest.raises(PowerCutError):
        run(lab, tmp_path, say=after(3))
    result = run(lab, tmp_path)
    study = journal(tmp_path, result)
    assert [trial.value for trial in study.trials] == [trial.value for trial in result.trials]
    assert {trial.state for trial in study.trials} == {optuna.trial.TrialState.COMPLETE}


def diverging(number: int) -> Callable[[FitJob], FitResult]:
    """`fake`, but the second fold of trial `number` diverges."""
    jobs: list[str] = []

    def broken(job: FitJob) -> FitResult:
        if job.key not in jobs:
            jobs.append(job.key)
        if jobs.index(job.key) == 2 * number + 1:
            raise CappuccinoError("PPO's loss is nan; lower it.")
        return fake(job)

    return broken


def fake(job: FitJob) -> FitResult:
    """A result that depends on the job alone."""
    return FitResult(
        job_key=job.key,
        agent_key=job.key,
        sharpe=int(job.key, 16) / 16**16,
        turnover_per_day=0.1,
        max_drawdown=0.1,
        bars=10,
        steps=job.training.ppo.steps,
        parameters=100,
    )


def test_two_processes_never_work_on_one_study(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit", fake)

    def again(_line: str) -> None:
        with pytest.raises(LakeError, match="another process is at work on"):
            run(lab, tmp_path)

    result = run(lab, tmp_path, say=again)
    assert load_study(tmp_path / result.key) == result


def test_a_torn_last_entry_of_the_journal_is_written_anew(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", fake)
    calm = run(lab, tmp_path / "calm")
    with pytest.raises(PowerCutError):
        run(lab, tmp_path / "cut", say=after(3))
    path = tmp_path / "cut" / calm.key / "journal.log"
    path.write_bytes(path.read_bytes()[:-40])
    assert run(lab, tmp_path / "cut") == calm
    assert len(journal(tmp_path / "cut", calm).trials) == 4


def test_progress_is_told_after_every_trial_and_left_in_a_file(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", diverging(1))
    ticks, told = iter(range(0, 600, 30)), list[Progress]()
    result = run_study(
        lab.dataset,
        STUDY,
        encoders=lab.encoders,
        root=tmp_path,
        workers=1,
        say=quiet,
        watch=told.append,
        now=lambda: float(next(ticks)),
    )
    assert [(one.done, one.failed, one.per_minute, one.seconds_left) for one in told] == [
        (1, 0, 2.0, 90.0),
        (2, 1, 2.0, 60.0),
        (3, 1, 2.0, 30.0),
        (4, 1, 2.0, 0.0),
    ]
    best = max(result.trials[0], result.trials[2], key=lambda trial: trial.value or 0.0)
    assert told[-1].best["mlp"].number == best.number
    assert read_progress(tmp_path / result.key) == told[-1]
    assert told[1].sentence.startswith("2/4 trials, 0 pruned, 1 failed, 2.0 a minute, about 1 min left; best mlp")


def test_a_tie_goes_to_the_earlier_trial(undisturbed: tuple[StudyResult, bytes]) -> None:
    result, _ = undisturbed
    equal = result.model_copy(
        update={"trials": tuple(trial.model_copy(update={"value": 1.0}) for trial in result.trials)}
    )
    assert (equal.best().number, equal.best("mlp").number, equal.best("ft").number) == (0, 0, 1)


def test_the_finalist_is_the_trials_configuration_on_all_development_rows(
    undisturbed: tuple[StudyResult, bytes], lab: Lab, tmp_path: Path
) -> None:
    result, _ = undisturbed
    for side in ("ft", "mlp"):
        trial = result.best(side)
        job = finalist_job(lab.dataset, result, trial, encoders=lab.encoders, root=tmp_path)
        assert (job.train_rows, job.test_rows) == (lab.dataset.splits.development, None)
        assert job.training == trial.training
        fit(job)
        actor = Actor.load(job.folder / "agent")
        assert actor.config.rows == lab.dataset.splits.development
        assert actor.config.trained_until < lab.dataset.time(lab.dataset.splits.holdout[0])
        assert (actor.config.encoder_key is not None) == (trial.arm == "ft_pretrained")


@pytest.mark.slow  # a spawned worker imports torch anew
def test_two_workers_and_one_give_the_same_bytes(
    undisturbed: tuple[StudyResult, bytes], lab: Lab, tmp_path: Path
) -> None:
    result, undisturbed_bytes = undisturbed
    assert run(lab, tmp_path, workers=2) == result
    assert stored(tmp_path, result) == undisturbed_bytes
    job = result.trials[0].fold_jobs[0]
    assert len(read_returns(tmp_path / result.key / "trials" / job)) > 0
