"""Splits, frozen data sets, pre-trained encoders per fold, and the A/B study."""

from cappuccino_ml.study.ablation import Ablation, AblationSettings, ablation_cases, ablation_jobs, run_ablation
from cappuccino_ml.study.best_ranges import best_ranges, narrow, resolve
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
from cappuccino_ml.study.experiment import Device, Experiment, device_of, pretraining_job, training_job
from cappuccino_ml.study.fitting import FitJob, FitResult, fit, measure, read_bars, read_learning_curve, read_returns
from cappuccino_ml.study.importance import Importance, importances
from cappuccino_ml.study.jobs import finalist_job
from cappuccino_ml.study.paths import TrialPaths, read_paths
from cappuccino_ml.study.progress import Progress, read_progress
from cappuccino_ml.study.pruning import judge as judge_pruning
from cappuccino_ml.study.refit import refit_jobs
from cappuccino_ml.study.results import (
    Failure,
    Narrowing,
    Pruned,
    StudyResult,
    StudySettings,
    TrialResult,
    Winner,
    load_study,
)
from cappuccino_ml.study.runner import run_study, study_key
from cappuccino_ml.study.search import RewardOptions, RiskOptions, Search, SearchSpace, allocation, preset
from cappuccino_ml.study.splits import Fold, Span, Splits, SplitSettings, make_splits
from cappuccino_ml.study.transfer import TransferResult, fit_transfer, run_transfer
from cappuccino_ml.study.transfer_grounds import Ground, TransferSettings, fine_window, finer_bars, unseen_tickers
from cappuccino_ml.study.trial_count import measured_trials
from cappuccino_ml.study.variants import Variant, VariantRun, run_variants, runs_side_by_side
from cappuccino_ml.study.workers import WorkerDied, Workers, run_jobs

__all__ = [
    "DEPLOYMENT",
    "Ablation",
    "AblationSettings",
    "ArmRun",
    "CombinatorialSplit",
    "Comparison",
    "ComparisonSettings",
    "CrossPaths",
    "CrossValidation",
    "CrossValidationSettings",
    "Dataset",
    "DatasetConfig",
    "Device",
    "EncoderJob",
    "EncoderPlan",
    "Experiment",
    "Failure",
    "FitJob",
    "FitResult",
    "Fold",
    "Ground",
    "Importance",
    "Narrowing",
    "Progress",
    "Pruned",
    "RewardOptions",
    "RiskOptions",
    "Search",
    "SearchSpace",
    "Span",
    "SplitSettings",
    "Splits",
    "StudyResult",
    "StudySettings",
    "TransferResult",
    "TransferSettings",
    "TrialPaths",
    "TrialResult",
    "Variant",
    "VariantRun",
    "Winner",
    "WorkerDied",
    "Workers",
    "ablation_cases",
    "ablation_jobs",
    "allocation",
    "assemble_paths",
    "bars_identity",
    "best_ranges",
    "combinatorial_splits",
    "comparison_jobs",
    "cross_validate",
    "device_of",
    "encoder_jobs",
    "finalist_job",
    "fine_window",
    "finer_bars",
    "fit",
    "fit_encoder",
    "fit_transfer",
    "freeze_dataset",
    "importances",
    "judge_pruning",
    "load_dataset",
    "load_study",
    "make_splits",
    "measure",
    "measured_trials",
    "narrow",
    "preset",
    "pretraining_job",
    "read_bars",
    "read_learning_curve",
    "read_paths",
    "read_progress",
    "read_returns",
    "refit_jobs",
    "resolve",
    "run_ablation",
    "run_comparison",
    "run_jobs",
    "run_study",
    "run_transfer",
    "run_variants",
    "runs_side_by_side",
    "side_by_side",
    "study_key",
    "training_job",
    "unseen_tickers",
    "where_it_looks",
]
