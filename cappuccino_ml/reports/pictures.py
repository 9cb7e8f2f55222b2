"""Every picture of the pipeline by name; each writes one PNG below 50 kB that names the source of its bars."""

from cappuccino_ml.reports.pictures_of_arms import drivers, sample_efficiency
from cappuccino_ml.reports.pictures_of_data import attention, coverage, feature_distributions
from cappuccino_ml.reports.pictures_of_experiments import ablation, regimes, transfer
from cappuccino_ml.reports.pictures_of_judgement import equity, intervals, session
from cappuccino_ml.reports.pictures_of_training import learning_curves, pretraining, study_history

__all__ = [
    "ablation",
    "attention",
    "coverage",
    "drivers",
    "equity",
    "feature_distributions",
    "intervals",
    "learning_curves",
    "pretraining",
    "regimes",
    "sample_efficiency",
    "session",
    "study_history",
    "transfer",
]
