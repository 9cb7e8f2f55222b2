"""Invented cross-validations of two finalists and paper sessions, made with the real constructors."""

from pathlib import Path
from typing import Any

import numpy as np

from cappuccino_ml.bars import Universe
from cappuccino_ml.study import CrossPaths, CrossValidation
from cappuccino_ml.trading.report import Comparison
from cappuccino_ml.trading.session import SessionReport
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


def make_session(label: str) -> SessionReport:
    return SessionReport(
        label=label,
        model_key="0123456789abcdef",
        model_version="3",
        first="2024-12-23T22:00",
        last="2024-12-30T22:00",
        comparison=Comparison(
            label=label,
            bars=168,
            orders_equal=True,
            differing_bars=0,
            first_difference=None,
            fills=41,
            backtest_fills=41,
            turnover=2.345,
            total_return=0.0123,
            return_gap=0.00000123,
            gap_bps_per_turnover=0.0052,
            max_drawdown=0.0345,
            sharpe=3.21,
            sharpe_error=7.22,
            backtest_sharpe=3.2,
            recommendation="go",
            reasons=(),
        ),
    )
