"""The fits that a study asks for: a trial's folds, and a finalist on all development rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cappuccino_ml.core import code_version, derive_seed
from cappuccino_ml.policy import AGENT_ROOMS, TrainingSettings
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.encoders import DEPLOYMENT, EncoderJob
from cappuccino_ml.study.fitting import FitJob
from cappuccino_ml.study.results import StudyResult, TrialResult


class StoredEncoder(Protocol):
    """What names a pre-trained encoder: its own job, or its transfer's."""

    @property
    def key(self) -> str:
        """Names it."""

    @property
    def folder(self) -> Path:
        """Where it is."""


def code_of_trials() -> str:
    """Version of all the code that shapes a trial."""
    return code_version(*AGENT_ROOMS, "study")


def fold_job(
    dataset: Dataset,
    training: TrainingSettings,
    *,
    encoders: Mapping[str, EncoderJob],
    study_seed: int,
    number: int,
    index: int,
    root: Path,
) -> FitJob:
    """Fold `index` of trial `number`: the same rows for all trials, a seed of its own."""
    fold = dataset.splits.folds[index]
    return fit_job(
        dataset,
        training,
        train_rows=fold.train,
        test_rows=fold.test,
        seed=derive_seed(study_seed, "trial", number, "fold", index),
        encoder=encoders[f"fold-{index}"],
        root=root,
    )


def finalist_job(
    dataset: Dataset, result: StudyResult, trial: TrialResult, *, encoders: Mapping[str, EncoderJob], root: Path
) -> FitJob:
    """Refit a trial's configuration on all development rows. These very weights are judged, registered and deployed."""
    return fit_job(
        dataset,
        trial.training,
        train_rows=dataset.splits.development,
        test_rows=None,
        seed=derive_seed(result.settings.seed, "finalist", trial.number),
        encoder=encoders[DEPLOYMENT],
        root=root / result.key / "finalists",
    )


def fit_job(
    dataset: Dataset,
    training: TrainingSettings,
    *,
    train_rows: tuple[int, int],
    test_rows: tuple[int, int] | None,
    seed: int,
    encoder: StoredEncoder,
    root: Path,
) -> FitJob:
    """One training on `dataset`; the encoder is part of it where the arm begins with a pre-trained one."""
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
        code=code_of_trials(),
        root=root,
    )
