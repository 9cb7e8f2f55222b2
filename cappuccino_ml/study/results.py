"""What came of a study: every trial with its state, and the evidence for the state."""

from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, JsonValue

from cappuccino_ml.core import CappuccinoError, LakeError, Settings, is_done, read_settings
from cappuccino_ml.policy import Arm, TrainingSettings
from cappuccino_ml.study.search import Search, SearchSpace

RESULT = "study.json"
_EXPECTED = {CappuccinoError.__name__, *(error.__name__ for error in CappuccinoError.__subclasses__())}
State = Literal["complete", "pruned", "failed"]
Side = Literal["mlp", "ft"]


class Winner(Settings):
    """A past trial that a narrowed search space came from."""

    study: str
    trial: int
    key: str
    arm: Arm
    value: FiniteFloat


class Narrowing(Settings):
    """Where `best` ranges come from; stored with every study that uses them."""

    winners: tuple[Winner, ...]
    studies: tuple[str, ...]  # finished ones that were read
    passed_over: dict[str, str]  # study -> why it was not


class StudySettings(Settings):
    """What a study does; two studies with equal settings, data, code and seed have one key."""

    trials_per_side: int = Field(4, ge=1, description="FT trials, and as many mlp trials")
    generation: int = Field(
        8, ge=1, description="trials asked together; the sampler and the pruning know earlier generations only"
    )
    prune_after: int | None = Field(
        4, ge=1, description="earlier trials of a side needed before one of it may be pruned; none: never prune"
    )
    search: Search = "budget"
    space: SearchSpace = SearchSpace()
    narrowing: Narrowing | None = None
    seed: int = 7


class Pruned(Settings):
    """Why a trial was given up: its mean Sharpe over the folds so far against the median of earlier trials there."""

    fold: int  # the last one it was measured on
    value: FiniteFloat
    median: FiniteFloat
    against: int  # earlier trials of its side that were measured on the same folds


class Failure(Settings):
    """Why a trial has no value. The traceback lies beside the trial's folds and in the journal."""

    kind: str  # class of the exception, or WorkerDied
    message: str
    traceback: str

    @property
    def sentence(self) -> str:
        """On one line; a bug is named by its class."""
        words = " ".join(self.message.split())
        return words if self.kind in _EXPECTED else f"{self.kind}: {words}"


class TrialResult(Settings):
    """One trial: what it tried and what it earned on each fold."""

    number: int
    arm: Arm
    state: State
    value: FiniteFloat | None  # mean over folds of the annualised net Sharpe; complete trials only
    fold_sharpes: tuple[FiniteFloat, ...]
    fold_jobs: tuple[str, ...]  # of the folds that were begun
    turnover_per_day: float
    steps: int
    parameters: int
    params: dict[str, JsonValue]
    training: TrainingSettings
    pruned: Pruned | None = None
    error: str | None = None

    @property
    def key(self) -> str:
        """Names the trial wherever it goes: its first job's key is a digest of settings, data, seed and code."""
        return self.fold_jobs[0]

    @property
    def side(self) -> Side:
        """Which half of the A/B it belongs to."""
        return "mlp" if self.arm == "mlp" else "ft"

    @property
    def means(self) -> tuple[float, ...]:
        """Mean Sharpe over the first, the first two, ... folds."""
        return tuple(sum(self.fold_sharpes[:count]) / count for count in range(1, len(self.fold_sharpes) + 1))


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

    @property
    def tried(self) -> int:
        """The raw number of trials: whatever was measured on any fold counts, whether it was completed or not."""
        return sum(bool(trial.fold_sharpes) for trial in self.trials)

    def count(self, state: State) -> int:
        """Trials in that state."""
        return sum(trial.state == state for trial in self.trials)

    def best(self, side: Side | None = None) -> TrialResult:
        """The trial with the highest value (the earlier one on a tie), of one side or of all.

        Raises:
            CappuccinoError: no such trial completed.
        """
        pool = [t for t in self.completed if side is None or t.side == side]
        if not pool:
            reasons = "; ".join(sorted({t.error for t in self.trials if t.error})) or "none was asked for"
            raise CappuccinoError(f"no {side or ''} trial of study {self.key} completed: {reasons}")
        return max(pool, key=lambda trial: (trial.value, -trial.number))


def load_study(folder: Path) -> StudyResult:
    """Read a finished study.

    Raises:
        LakeError: it is not finished.
    """
    if not is_done(folder):
        raise LakeError(f"{folder} holds no finished study (no DONE mark); materialize optuna_study again.")
    return read_settings(StudyResult, folder / RESULT)
