"""Every picture of the pipeline by name; each writes one PNG below 50 kB that names the source of its bars."""

from cappuccino_ml.reports.pictures_of_arms import drivers, sample_efficiency
from cappuccino_ml.reports.pictures_of_data import attention, coverage, feature_correlation, feature_distributions
from cappuccino_ml.reports.pictures_of_experiments import ablation, regimes, transfer
from cappuccino_ml.reports.pictures_of_judgement import (
    cross_validation,
    equity,
    intervals,
    session,
    session_trades,
    verdict_pictures,
)
from cappuccino_ml.reports.pictures_of_study import (
    study_arms,
    study_importances,
    study_parallel,
    study_pictures,
    study_pruning,
    study_ranges,
)
from cappuccino_ml.reports.pictures_of_training import feature_skill, learning_curves, pretraining, study_history

__all__ = [
    "ablation",
    "attention",
    "coverage",
    "cross_validation",
    "drivers",
    "equity",
    "feature_correlation",
    "feature_distributions",
    "feature_skill",
    "intervals",
    "learning_curves",
    "pretraining",
    "regimes",
    "sample_efficiency",
    "session",
    "session_trades",
    "study_arms",
    "study_history",
    "study_importances",
    "study_parallel",
    "study_pictures",
    "study_pruning",
    "study_ranges",
    "transfer",
    "verdict_pictures",
]
