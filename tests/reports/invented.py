"""Invented cross-validations of two finalists, made with the real constructors."""

from pathlib import Path
from typing import Any

import numpy as np

from cappuccino_ml.bars import Universe
from cappuccino_ml.study import CrossPaths, CrossValidation
from cappuccino_ml.verdict import CrossValidationReport, cross_validation_report

PER_YEAR = Universe().bars_per_year


def no_cross_validation() -> CrossValidationReport:
    return cross_validation_report(
        CrossValidation((), {}, ("left out at this budget",)), equal_weight=None, bars_per_year=PER_YEAR, seed=1
    )


def made_cross_validation() -> CrossValidationReport:
    random = np.random.default_rng(11)
    market = random.normal(0, 0.003, (1, 1200, 1))
    arms: dict[str, Any] = {"ft": "ft_pretrained", "mlp": "mlp"}
    finalists = {
        side: CrossPaths(
            trial=5, arm=arm, returns=market + random.normal(1e-4, 0.001, (3, 1200, 5)), folder=Path(f"paths-{side}")
        )
        for side, arm in arms.items()
    }
    return cross_validation_report(
        CrossValidation(((0, 1200),), finalists, ()),
        equal_weight=market[0, :, 0],
        bars_per_year=PER_YEAR,
        seed=1,
        resamples=199,
    )
