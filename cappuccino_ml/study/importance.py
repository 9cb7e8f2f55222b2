"""How much each hyper-parameter mattered in a study, beside how much it would seem to matter by chance."""

import warnings
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.study.journal import JOURNAL

BEST_SHARE = 0.25
SHUFFLES = 40
LEAST_TRIALS = 4


class Importance(Settings):
    """One parameter, over the trials that were asked it."""

    name: str
    value: float = Field(description="share of the spread between the best quarter and all trials that it explains")
    chance: float = Field(description="95% of shuffled studies show less; a value below it says nothing")
    trials: int


def importances(folder: Path, *, seed: int) -> tuple[Importance, ...]:
    """Importance of each parameter in the study in `folder`, the largest first; empty with fewer than four trials.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) on completed trials, as in `optuna.importance`: how far the
    distribution of the best quarter departs from that of all. The same is computed with the values dealt out at random.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it names every study it shuffles
    backend = JournalFileBackend(str(folder / JOURNAL))
    journal = optuna.load_study(study_name=folder.name, storage=JournalStorage(backend))
    trials = journal.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < LEAST_TRIALS:
        return ()
    values = np.array([trial.value for trial in trials], dtype=np.float64)
    real = _shares(trials, values)
    random = np.random.default_rng(seed)
    shuffled = [_shares(trials, random.permutation(values)) for _ in range(SHUFFLES)]
    found = [
        Importance(
            name=name,
            value=share,
            chance=float(np.quantile([one[name] for one in shuffled], 0.95)),
            trials=sum(name in trial.params for trial in trials),
        )
        for name, share in real.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.value, one.name)))


def _shares(trials: list[optuna.trial.FrozenTrial], values: NDArray[np.float64]) -> dict[str, float]:
    scratch = optuna.create_study(direction="maximize")
    scratch.add_trials(
        [
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=float(value))
            for trial, value in zip(trials, values, strict=True)
        ]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    names = sorted({name for trial in trials for name in trial.params})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few trials tell little is what `chance` is for
        found = evaluator.evaluate(scratch, params=names)
    total = sum(found.values())
    return {name: found[name] / total if total > 0 else 0.0 for name in names}
