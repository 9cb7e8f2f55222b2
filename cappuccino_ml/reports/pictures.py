"""Every picture of the pipeline by name; each writes one PNG below 50 kB that names the source of its bars."""

from cappuccino_ml.reports.pictures_of_arms import sample_efficiency
from cappuccino_ml.reports.pictures_of_data import attention, coverage, feature_distributions
from cappuccino_ml.reports.pictures_of_judgement import (
    cross_validation,
    equity,
    intervals,
    session,
    verdict_pictures,
)
from cappuccino_ml.reports.pictures_of_training import learning_curves, pretraining, study_history

__all__ = [
    "attention",
    "coverage",
    "cross_validation",
    "equity",
    "feature_distributions",
    "intervals",
    "learning_curves",
    "pretraining",
    "sample_efficiency",
    "session",
    "study_history",
    "verdict_pictures",
]
