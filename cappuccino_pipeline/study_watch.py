"""How far a study is, read from its folder: what it says itself, its recorded trials, its finished folds."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from cappuccino_ml.core import LakeError, derive_seed, digest, is_done, read_json
from cappuccino_pipeline.facts import done_at, folders

PROGRESS = "progress.json"  # written by the study after each trial
JOURNAL = "journal.log"  # Optuna's; one line per trial of every generation that has ended


@dataclass(frozen=True)
class FoldRun:
    """One finished fold of a trial."""

    key: str  # of its job
    trial: str  # the same for all folds of a trial
    arm: str
    seed: int
    sharpe: float
    steps: int
    ended: datetime


@dataclass(frozen=True)
class ArmSoFar:
    """What the finished folds of an arm earned."""

    arm: str
    folds: int
    mean: float  # annualised net Sharpe
    best: float


@dataclass(frozen=True)
class TrialSoFar:
    """A trial of which something was measured, or that failed."""

    number: int | None  # None where it follows neither from the journal nor from the seed
    arm: str
    state: str  # complete, pruned, failed; or open: its generation has not ended, so it may go on or be pruned
    sharpes: tuple[float, ...]  # of its finished folds, annualised and net
    steps: int
    fold_seconds: float | None  # mean time between the ends of its folds, pauses included; None before the second

    @property
    def rank(self) -> tuple[bool, float]:
        """The best first: by mean Sharpe, what was given up after the rest."""
        mean = fmean(self.sharpes) if self.sharpes else float("-inf")
        return (self.state in ("pruned", "failed"), -mean)


@dataclass(frozen=True)
class StudySoFar:
    """A study, finished or not."""

    key: str
    last_sign: datetime  # when anything was last finished in it
    said: dict[str, Any]  # its own progress.json; empty before the first trial has ended
    said_at: datetime
    folds: tuple[FoldRun, ...]  # newest first
    trials: tuple[TrialSoFar, ...]  # the best first

    @property
    def arms(self) -> tuple[ArmSoFar, ...]:
        """One line per arm, by name."""
        found = []
        for arm in sorted({fold.arm for fold in self.folds}):
            sharpes = [fold.sharpe for fold in self.folds if fold.arm == arm]
            found.append(ArmSoFar(arm=arm, folds=len(sharpes), mean=fmean(sharpes), best=max(sharpes)))
        return tuple(found)

    @property
    def trials_per_hour(self) -> float | None:
        """Ended trials since the work on it began, or was taken up again; None before the first."""
        pace = self.said.get("per_minute")
        return 60 * pace if pace else None

    @property
    def steps_per_second(self) -> float | None:
        """Environment steps of the folds of the last hour of work, all workers together; None before the third."""
        recent = [fold for fold in self.folds if (self.folds[0].ended - fold.ended).total_seconds() <= 3600]
        seconds = (recent[0].ended - recent[-1].ended).total_seconds() if len(recent) > 2 else 0.0
        return sum(fold.steps for fold in recent[:-1]) / seconds if seconds > 0 else None


class StudyWatch:
    """Looks at one folder of studies again and again; a finished fold is read once.

    Args:
        root: of studies.
        seed: of the studies, from which the numbers of trials follow that no journal holds yet.
    """

    def __init__(self, root: Path, *, seed: int) -> None:
        self._root, self._seed = root, seed
        self._known: dict[Path, FoldRun] = {}

    def look(self) -> StudySoFar | None:
        """The unfinished study that was touched last; None if every one is finished."""
        unfinished = [folder for folder in folders(self._root) if not is_done(folder)]
        return self.read(max(unfinished, key=_touched)) if unfinished else None

    def read(self, folder: Path) -> StudySoFar:
        """The study in `folder`."""
        runs = [run for place in folders(folder / "trials") if is_done(place) and (run := self._read(place))]
        runs.sort(key=lambda run: run.ended, reverse=True)
        progress = folder / PROGRESS
        said = read_json(progress) if progress.is_file() else {}
        touched = datetime.fromtimestamp(_touched(folder), UTC)
        return StudySoFar(
            key=folder.name,
            last_sign=touched,
            said=said,
            said_at=datetime.fromtimestamp(progress.stat().st_mtime, UTC) if said else touched,
            folds=tuple(runs),
            trials=self._trials(_recorded(folder / JOURNAL), runs, total=said.get("total", 0)),
        )

    def _trials(
        self, recorded: Iterable[dict[str, Any]], runs: Iterable[FoldRun], *, total: int
    ) -> tuple[TrialSoFar, ...]:
        """What the journal holds, and behind it what the generation under way has measured."""
        by_key = {run.key: run for run in runs}
        found = []
        for trial in recorded:
            mine = [by_key.pop(key) for key in trial["fold_jobs"] if key in by_key]
            sharpes, state = tuple(trial["fold_sharpes"]), trial["state"]
            seconds = _between([run.ended for run in mine])
            found.append(TrialSoFar(trial["number"], trial["arm"], state, sharpes, trial["steps"], seconds))
        by_trial: dict[str, list[FoldRun]] = {}
        for run in sorted(by_key.values(), key=lambda run: run.ended):
            by_trial.setdefault(run.trial, []).append(run)
        numbers = {derive_seed(self._seed, "trial", number, "fold", 0): number for number in range(total)}
        for mine in by_trial.values():
            sharpes, steps = tuple(run.sharpe for run in mine), sum(run.steps for run in mine)
            number, seconds = numbers.get(mine[0].seed), _between([run.ended for run in mine])
            found.append(TrialSoFar(number, mine[0].arm, "open", sharpes, steps, seconds))
        return tuple(sorted(found, key=lambda trial: trial.rank))

    def _read(self, place: Path) -> FoldRun | None:
        if place not in self._known:
            try:
                job, result = read_json(place / "job.json"), read_json(place / "result.json")
            except LakeError:
                return None  # removed between listing and reading
            self._known[place] = FoldRun(
                key=place.name,
                trial=digest(job["training"]),
                arm=job["training"]["agent"]["arm"],
                seed=job["seed"],
                sharpe=result["sharpe"],
                steps=result["steps"],
                ended=done_at(place),
            )
        return self._known[place]


def _recorded(path: Path) -> list[dict[str, Any]]:
    """Trials in a journal, as JSON: Optuna takes a second to import. A line that is being written is left out."""
    lines = path.read_text().splitlines() if path.is_file() else []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "result" in entry.get("user_attrs", {}):
            found.append(json.loads(entry["user_attrs"]["result"]))
    return found


def _between(ends: list[datetime]) -> float | None:
    return (max(ends) - min(ends)).total_seconds() / (len(ends) - 1) if len(ends) > 1 else None


def _touched(folder: Path) -> float:
    """A folder's time changes when something is renamed into it, which is how results are finished."""
    return max(path.stat().st_mtime for path in (folder, folder / "trials", folder / PROGRESS) if path.exists())
