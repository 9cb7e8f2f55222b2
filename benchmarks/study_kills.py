"""Many tiny trials while workers, and the study itself, are killed at random: nothing lost, nothing stuck, equal bytes.

`python -m benchmarks.study_kills` runs a study once undisturbed with one worker and once with two workers under SIGKILL
in another folder, compares every file that matters and prints a log and one JSON line.
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.markets import freeze
from cappuccino_ml.bars import SimulatedSource, Universe
from cappuccino_ml.core import Settings, is_done
from cappuccino_ml.encoder import EncoderSettings, PretrainingSettings
from cappuccino_ml.environment import Guards, Layout
from cappuccino_ml.study import (
    EncoderJob,
    EncoderPlan,
    RewardOptions,
    RiskOptions,
    SearchSpace,
    SplitSettings,
    StudyResult,
    StudySettings,
    encoder_jobs,
    fit_encoder,
    load_dataset,
    load_study,
    run_study,
)
from cappuccino_ml.study.journal import JOURNAL

UNIVERSE = Universe(tickers=("BTC", "ETH", "LTC"))
SPLITS = SplitSettings(folds=2, holdout_share=0.25, paper_bars=24, max_lookback=2, memory_bars=40)
SPACE = SearchSpace(
    steps=256,
    net_dimension=(16, 32),
    net_dimension_step=16,
    batch_size=(64, 128),
    epochs=(3, 5),
    lookback=(1, 2),
    reward=RewardOptions(turnover_penalty=(), drawdown_penalty=(), concentration_penalty=()),
    risk=RiskOptions.none(),
    ft_d_token=(8, 16),
    ft_n_blocks=(1, 2),
    ft_n_heads=(1, 2),
    ft_encoding_dim=16,
    layout=Layout(timestamps=4, environments=4, steps=16, episode_bars=32),
    guards=Guards(dead_band=0.0),  # so little training leads to small actions only, and all trials would be flat
)


class Task(Settings):
    """What a coordinating process is given; it can be killed and started again."""

    dataset_folder: Path
    encoders: dict[str, EncoderJob]
    settings: StudySettings
    root: Path
    workers: int
    log: Path  # one line per ended trial: seconds since 1970, text


class Disturbance(Settings):
    """What was done to a study."""

    worker_kills: int
    study_kills: int
    resumes_s: tuple[float, ...]  # from the start of a process to the end of its first trial
    seconds: float


def prepare(root: Path, *, trials: int, workers: int) -> Task:
    """A two-month market of three tickers with its encoders."""
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
    dataset = freeze(root / "datasets", SimulatedSource(seed=7), UNIVERSE, start=start, end=end, splits=SPLITS)
    shape = EncoderSettings(lookback=2, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16)
    plan = EncoderPlan(encoder=shape, pretraining=PretrainingSettings(epochs=1, batch_size=64))
    encoders = encoder_jobs(dataset, plan, root=root / "encoders")
    for job in encoders.values():
        fit_encoder(job)
    return Task(
        dataset_folder=dataset.folder,
        encoders=encoders,
        settings=StudySettings(trials_per_side=trials // 2, space=SPACE),
        root=root / "studies",
        workers=workers,
        log=root / "log.txt",
    )


def study(task: Task) -> None:
    """Run what is left of the study; a process of its own, so that it can be killed."""

    def say(line: str) -> None:
        with task.log.open("a") as log:
            log.write(f"{time.time():.3f} {line}\n")

    run_study(
        load_dataset(task.dataset_folder),
        task.settings,
        encoders=task.encoders,
        root=task.root,
        workers=task.workers,
        say=say,
    )


def disturb(
    task: Task, *, seed: int, worker_kills: int, study_kills: int, pause_s: float, tell: Callable[[str], None]
) -> Disturbance:
    """Run the study while killing its workers, and now and then the whole of it, until it ends by itself.

    Args:
        task: the study.
        seed: of victims and moments.
        worker_kills: SIGKILLs for workers, at most; `study_kills` for the coordinating process.
        study_kills: as above.
        pause_s: mean time between kills.
        tell: told one line per kill and resume.
    """
    chance, context = random.Random(seed), multiprocessing.get_context("spawn")
    order = ["worker"] * worker_kills + ["study"] * study_kills
    chance.shuffle(order)
    began, starts, process = time.time(), [], None
    killed = {"worker": 0, "study": 0}
    while True:
        if process is None:
            starts.append(time.time())
            process = context.Process(target=study, args=(task,))
            process.start()
        process.join(chance.uniform(0.2, 1.8) * pause_s if order else None)
        if process.exitcode is not None:
            if process.exitcode != 0:
                raise RuntimeError(f"the study ended with exit code {process.exitcode} and nobody had killed it")
            break
        if order[-1] == "study":
            process.kill()
            process.join()
            process = None
        else:
            workers = [child for child in _children(process.pid) if "spawn_main" in " ".join(_command(child))]
            if not workers:
                continue  # it is still starting
            chance.choice(workers).kill()
        killed[order[-1]] += 1
        tell(f"[{time.time() - began:6.1f} s] SIGKILL to the {order.pop()}; {_ended(task)} trials ended")
    lines = [float(line.split()[0]) for line in task.log.read_text().splitlines()]
    resumes = [next((line - start for line in lines if line > start), 0.0) for start in starts[1:]]
    return Disturbance(
        worker_kills=killed["worker"],
        study_kills=killed["study"],
        resumes_s=tuple(round(seconds, 1) for seconds in resumes),
        seconds=time.time() - began,
    )


def only(task: Task) -> tuple[StudyResult, Path]:
    """The one finished study below the task's root."""
    (folder,) = (path for path in task.root.glob("*") if is_done(path))
    return load_study(folder), folder


def differences(calm: Task, disturbed: Task) -> list[str]:
    """What is not as in the undisturbed study: results, every trial's weights and returns, journal entries."""
    (expected, there), (found, here) = only(calm), only(disturbed)
    wrong = [] if (there / "study.json").read_bytes() == (here / "study.json").read_bytes() else ["study.json"]
    wrong += [f"trial {trial.number} is lost" for trial in expected.trials[len(found.trials) :]]
    names = {job for trial in expected.trials for job in trial.fold_jobs[: len(trial.fold_sharpes)]}
    files = ("agent/weights.safetensors", "returns.parquet", "result.json", "DONE")
    wrong += [
        f"{job}/{file}"
        for job in sorted(names)
        for file in files
        if not (here / "trials" / job / file).is_file()
        or _sha(here / "trials" / job / file) != _sha(there / "trials" / job / file)
    ]
    wrong += [f"left over: {path.name}" for path in (here / "trials").iterdir() if path.name not in names]
    return wrong + [f"journal: {state}" for state in stuck(here)]


def stuck(folder: Path) -> list[str]:
    """Trials of the journal that have not ended."""
    import optuna  # noqa: PLC0415

    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    journal = optuna.load_study(study_name=folder.name, storage=optuna.storages.JournalStorage(backend))
    return [f"trial {trial.number} is {trial.state.name}" for trial in journal.trials if not trial.state.is_finished()]


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _children(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _ended(task: Task) -> int:
    return len(task.log.read_text().splitlines()) if task.log.is_file() else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--worker-kills", type=int, default=40)
    parser.add_argument("--study-kills", type=int, default=5)
    parser.add_argument("--pause", type=float, default=6.0, help="mean seconds between kills")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _say("preparing a market of two months and three encoders")
        calm = prepare(Path(folder) / "calm", trials=arguments.trials, workers=1)
        _say(f"{arguments.trials} trials, one worker, undisturbed")
        began = time.time()
        study(calm)
        calm_s = time.time() - began
        root = Path(folder) / "disturbed"
        task = calm.model_copy(update={"root": root / "studies", "workers": 2, "log": root / "log.txt"})
        root.mkdir()
        _say(f"took {calm_s:.0f} s; the same with two workers under kills")
        done = disturb(
            task,
            seed=arguments.seed,
            worker_kills=arguments.worker_kills,
            study_kills=arguments.study_kills,
            pause_s=arguments.pause,
            tell=_say,
        )
        result = only(task)[0]
        wrong = differences(calm, task)
    counts = {state: result.count(state) for state in ("complete", "pruned", "failed")}
    _say(f"ended after {done.seconds:.0f} s: {counts}; resumes took {', '.join(map(str, done.resumes_s))} s")
    _say("equal to the undisturbed study, byte for byte" if not wrong else "NOT EQUAL: " + "; ".join(wrong))
    figures = {
        "trials": len(result.trials),
        **counts,
        "lost": arguments.trials - len(result.trials),
        "stuck": sum("journal" in one for one in wrong),
        "differences": len(wrong),
        "calm_s": round(calm_s, 1),
        **done.model_dump(),
        "seconds": round(done.seconds, 1),
    }
    _say(json.dumps(figures))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
