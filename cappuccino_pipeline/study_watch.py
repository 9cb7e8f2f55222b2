"""How far a study is while it runs, read from its folder: what it says itself, and the folds that are finished."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from cappuccino_ml.core import LakeError, is_done, read_json
from cappuccino_pipeline.facts import done_at, folders

PROGRESS = "progress.json"  # written by the study after each trial


@dataclass(frozen=True)
class FoldRun:
    """One finished fold of a trial."""

    arm: str
    sharpe: float
    turnover_per_day: float
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
class StudySoFar:
    """A study in the middle of its work, or left there."""

    key: str
    begun: datetime
    last_sign: datetime  # when anything was last finished in it
    said: dict[str, Any]  # its own progress.json; empty before the first trial has ended
    folds: tuple[FoldRun, ...]  # newest first

    @property
    def arms(self) -> tuple[ArmSoFar, ...]:
        """One line per arm, by name."""
        found = []
        for arm in sorted({fold.arm for fold in self.folds}):
            sharpes = [fold.sharpe for fold in self.folds if fold.arm == arm]
            found.append(ArmSoFar(arm=arm, folds=len(sharpes), mean=fmean(sharpes), best=max(sharpes)))
        return tuple(found)

    @property
    def folds_per_minute(self) -> float | None:
        """Velocity since the first fold of the last hour of work; None before three are finished."""
        recent = [fold.ended for fold in self.folds if (self.last_sign - fold.ended).total_seconds() <= 3600]
        seconds = (max(recent) - min(recent)).total_seconds() if len(recent) > 2 else 0.0
        return 60 * (len(recent) - 1) / seconds if seconds > 0 else None


class StudyWatch:
    """Looks at one folder of studies again and again; a finished fold is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, FoldRun] = {}

    def look(self) -> StudySoFar | None:
        """The unfinished study that was touched last; None if every one is finished."""
        unfinished = [folder for folder in folders(self._root) if not is_done(folder)]
        if not unfinished:
            return None
        folder = max(unfinished, key=_touched)
        runs = [run for place in folders(folder / "trials") if is_done(place) and (run := self._read(place))]
        runs.sort(key=lambda run: run.ended, reverse=True)
        progress = folder / PROGRESS
        return StudySoFar(
            key=folder.name,
            begun=datetime.fromtimestamp(folder.stat().st_ctime if not runs else runs[-1].ended.timestamp(), UTC),
            last_sign=datetime.fromtimestamp(_touched(folder), UTC),
            said=read_json(progress) if progress.is_file() else {},
            folds=tuple(runs),
        )

    def _read(self, place: Path) -> FoldRun | None:
        if place not in self._known:
            try:
                job, result = read_json(place / "job.json"), read_json(place / "result.json")
            except LakeError:
                return None  # removed between listing and reading
            self._known[place] = FoldRun(
                arm=job["training"]["agent"]["arm"],
                sharpe=result["sharpe"],
                turnover_per_day=result["turnover_per_day"],
                steps=result["steps"],
                ended=done_at(place),
            )
        return self._known[place]


def _touched(folder: Path) -> float:
    """A folder's time changes when something is renamed into it, which is how results are finished."""
    return max(path.stat().st_mtime for path in (folder, folder / "trials", folder / PROGRESS) if path.exists())
