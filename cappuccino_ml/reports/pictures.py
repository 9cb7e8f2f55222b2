"""Every picture of the pipeline by name; each writes one PNG below 50 kB that names the source of its bars."""

from cappuccino_ml.reports.pictures_of_arms import sample_efficiency
from cappuccino_ml.reports.pictures_of_data import attention, coverage, feature_distributions
from cappuccino_ml.reports.pictures_of_experiments import ablation, regimes, transfer
from cappuccino_ml.reports.pictures_of_judgement import equity, intervals, session
from cappuccino_ml.reports.pictures_of_study import arms_side_by_side, importances, parallel_coordinates
from cappuccino_ml.reports.pictures_of_training import learning_curves, pretraining, study_history

__all__ = [
    "ablation",
    "arms_side_by_side",
    "attention",
    "coverage",
    "equity",
    "feature_distributions",
    "importances",
    "intervals",
    "learning_curves",
    "parallel_coordinates",
    "pretraining",
    "regimes",
    "sample_efficiency",
    "session",
    "study_history",
    "transfer",
]
