"""The study's Optuna journal: one entry per ended trial, whole or absent, so that none is ever left RUNNING.

`optuna-dashboard` opens the file. One process at a time works on a study; a second one is told so and ends.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from cappuccino_ml.core import LakeError, is_done, write_bytes
from cappuccino_ml.study.results import Failure, TrialResult
from cappuccino_ml.study.sampling import Asked

JOURNAL = "journal.log"
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class _HeldAlready(JournalFileSymlinkLock):
    """Nothing to do: the study's own lock is held. Optuna's would outlive a killed process by half a minute."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


class Journal:
    """Ended trials of one study, in the order of their numbers."""

    def __init__(self, folder: Path, *, key: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder = folder
        path = folder / JOURNAL
        _drop_torn_line(path)
        backend = JournalFileBackend(str(path), lock_obj=_HeldAlready(str(path)))
        self._study = optuna.create_study(
            study_name=key, storage=JournalStorage(backend), direction="maximize", load_if_exists=True
        )

    def trials(self) -> list[FrozenTrial]:
        """What is recorded."""
        return self._study.get_trials(deepcopy=False)

    def results(self) -> list[TrialResult]:
        """The same, as results, up to the first one of which a fold is no longer on disk."""
        found = []
        for trial in self.trials():
            result = TrialResult.model_validate_json(trial.user_attrs["result"])
            measured = result.fold_jobs[: len(result.fold_sharpes)]
            if not all(is_done(self._folder / "trials" / job) for job in measured):
                break
            found.append(result)
        return found

    def record(self, asked: Asked, result: TrialResult, failure: Failure | None) -> None:
        """Append one trial; nothing happens if it is there already."""
        if result.number < len(self.trials()):
            return
        self._study.add_trial(frozen(asked, result, failure))


def _drop_torn_line(path: Path) -> None:
    """Cut off an entry whose writing a power cut ended: Optuna would put the next one on the same line."""
    data = path.read_bytes() if path.is_file() else b""
    if not data.endswith(b"\n") and data:
        write_bytes(path, data[: data.rfind(b"\n") + 1])


def frozen(asked: Asked, result: TrialResult, failure: Failure | None) -> FrozenTrial:
    """An ended trial as Optuna knows it; the arm's two switches are attributes, because they were not sampled."""
    attributes = {
        "key": result.key,
        "arm": result.arm,
        "use_ft_encoder": result.arm != "mlp",
        "ft_use_pretrained": result.arm == "ft_pretrained",
        "result": result.model_dump_json(),
    }
    if result.pruned:
        attributes["pruned"] = json.loads(result.pruned.model_dump_json())
    if failure:
        attributes |= {"error": result.error, "traceback": failure.traceback}
    return optuna.trial.create_trial(
        state=_STATES[result.state],
        value=result.means[-1] if result.state == "pruned" else result.value,
        params=asked.params,
        distributions=asked.distributions,
        user_attrs=attributes,
        intermediate_values=dict(enumerate(result.means)),
    )


@contextmanager
def sole_worker(folder: Path) -> Iterator[None]:
    """Hold the study; the lock ends with the process, however that ends.

    Raises:
        LakeError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "study.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LakeError(f"another process is at work on {folder}; wait for it to end or stop it.") from error
    try:
        yield
    finally:
        lock.release()
