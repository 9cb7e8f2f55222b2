"""How far a study is: counts by state, velocity, time left, the best trial of each arm; also as a file for others."""

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from cappuccino_ml.core import Settings, read_settings, write_json
from cappuccino_ml.policy import Arm
from cappuccino_ml.study.results import TrialResult

PROGRESS = "progress.json"


class BestTrial(Settings):
    """The best completed trial of an arm so far."""

    number: int
    value: float


class Progress(Settings):
    """A study at one moment. Velocity and time left are of this session: trials found finished do not count."""

    study: str
    total: int
    completed: int = 0
    pruned: int = 0
    failed: int = 0
    workers: int = 1
    seconds: float = 0.0
    per_minute: float | None = None
    seconds_left: float | None = None
    best: dict[Arm, BestTrial] = Field(default_factory=dict)

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return self.completed + self.pruned + self.failed

    @property
    def sentence(self) -> str:
        """On one line."""
        speed = f", {self.per_minute:.1f} a minute" if self.per_minute else ""
        left = f", about {_duration(self.seconds_left)} left" if self.seconds_left else ""
        best = ", ".join(f"{arm} {trial.value:+.2f} (#{trial.number})" for arm, trial in self.best.items())
        counts = f"{self.done}/{self.total} trials, {self.pruned} pruned, {self.failed} failed"
        return f"{counts}{speed}{left}; best {best or 'none yet'}"


class Meter:
    """Counts trials as they end and tells the `Progress` after each."""

    def __init__(self, folder: Path, *, study: str, total: int, workers: int, now: Callable[[], float]) -> None:
        self._folder, self._now, self._began = folder, now, now()
        self._found = 0
        self._trials: list[TrialResult] = []
        self._blank = Progress(study=study, total=total, workers=workers)

    def found(self, trials: list[TrialResult]) -> None:
        """Trials of an earlier session."""
        self._trials += trials
        self._found = len(self._trials)

    def ended(self, trial: TrialResult) -> Progress:
        """One more."""
        self._trials.append(trial)
        progress = self.progress()
        write_json(self._folder / PROGRESS, progress)
        return progress

    def progress(self) -> Progress:
        """The present state."""
        seconds, here = self._now() - self._began, len(self._trials) - self._found
        pace = here / seconds if here and seconds > 0 else None
        best: dict[Arm, BestTrial] = {}
        for trial in sorted(self._trials, key=lambda trial: trial.number):
            if trial.value is not None and (trial.arm not in best or trial.value > best[trial.arm].value):
                best[trial.arm] = BestTrial(number=trial.number, value=trial.value)
        states = [trial.state for trial in self._trials]
        return self._blank.model_copy(
            update={
                "completed": states.count("complete"),
                "pruned": states.count("pruned"),
                "failed": states.count("failed"),
                "seconds": seconds,
                "per_minute": 60 * pace if pace else None,
                "seconds_left": (self._blank.total - len(states)) / pace if pace else None,
                "best": dict(sorted(best.items())),
            }
        )


def read_progress(folder: Path) -> Progress | None:
    """What the process at work on the study in `folder` said last; None before its first trial."""
    path = folder / PROGRESS
    return read_settings(Progress, path) if path.is_file() else None


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
