"""Splits, frozen data sets, pre-trained encoders per fold, and the A/B study."""

from cappuccino_ml.study.combinatorial import CombinatorialSplit, assemble_paths, combinatorial_splits
from cappuccino_ml.study.comparison import (
    ArmRun,
    Comparison,
    ComparisonSettings,
    comparison_jobs,
    run_comparison,
    side_by_side,
)
from cappuccino_ml.study.cross_validation import (
    CrossPaths,
    CrossValidation,
    CrossValidationSettings,
    cross_validate,
)
from cappuccino_ml.study.dataset import Dataset, DatasetConfig, bars_identity, freeze_dataset, load_dataset
from cappuccino_ml.study.encoders import (
    DEPLOYMENT,
    EncoderJob,
    EncoderPlan,
    encoder_jobs,
    fit_encoder,
    where_it_looks,
)
from cappuccino_ml.study.fitting import FitJob, FitResult, fit, measure, read_learning_curve, read_returns
from cappuccino_ml.study.paths import TrialPaths, read_paths
from cappuccino_ml.study.refit import refit_jobs
from cappuccino_ml.study.runner import (
    StudyResult,
    StudySettings,
    TrialResult,
    finalist_job,
    load_study,
    run_study,
    study_key,
)
from cappuccino_ml.study.search import SearchSpace, allocation
from cappuccino_ml.study.splits import Fold, Span, Splits, SplitSettings, make_splits
from cappuccino_ml.study.trial_count import measured_trials
from cappuccino_ml.study.workers import run_jobs

__all__ = [
    "DEPLOYMENT",
    "ArmRun",
    "CombinatorialSplit",
    "Comparison",
    "ComparisonSettings",
    "CrossPaths",
    "CrossValidation",
    "CrossValidationSettings",
    "Dataset",
    "DatasetConfig",
    "EncoderJob",
    "EncoderPlan",
    "FitJob",
    "FitResult",
    "Fold",
    "SearchSpace",
    "Span",
    "SplitSettings",
    "Splits",
    "StudyResult",
    "StudySettings",
    "TrialPaths",
    "TrialResult",
    "allocation",
    "assemble_paths",
    "bars_identity",
    "combinatorial_splits",
    "comparison_jobs",
    "cross_validate",
    "encoder_jobs",
    "finalist_job",
    "fit",
    "fit_encoder",
    "freeze_dataset",
    "load_dataset",
    "load_study",
    "make_splits",
    "measure",
    "measured_trials",
    "read_learning_curve",
    "read_paths",
    "read_returns",
    "refit_jobs",
    "run_comparison",
    "run_jobs",
    "run_study",
    "side_by_side",
    "study_key",
    "where_it_looks",
]
