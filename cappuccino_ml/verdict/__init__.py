"""Is a policy better than what runs now, net of costs, and how sure is that: baselines, significance, holdout, gate."""

from cappuccino_ml.verdict.baselines import run_baselines
from cappuccino_ml.verdict.bootstrap import NotTestableError, SharpeTest, paired_sharpe_test, sharpe_interval
from cappuccino_ml.verdict.contest import Finalist
from cappuccino_ml.verdict.cross_validation import (
    CrossValidatedFinalist,
    CrossValidationReport,
    cross_validation_report,
    resampled_means,
)
from cappuccino_ml.verdict.differences import Difference, paired_difference
from cappuccino_ml.verdict.gate import Clause, GateSettings, Verdict, choose_incumbent, judge
from cappuccino_ml.verdict.holdout import HoldoutLedger, Reading
from cappuccino_ml.verdict.overfitting import Overfitting, Selection, cscv, expected_best_sharpe, overfitting
from cappuccino_ml.verdict.power import Power, holdout_power
from cappuccino_ml.verdict.regime_benchmark import RegimeBenchmark, regime_benchmark
from cappuccino_ml.verdict.regime_scores import RegimeScore, score_regimes
from cappuccino_ml.verdict.regime_table import RegimeResult, RegimeTable, Spell, regime_table
from cappuccino_ml.verdict.regimes import REGIMES, RegimeRule, market_regimes
from cappuccino_ml.verdict.sample_efficiency import Point, SampleEfficiency, sample_efficiency
from cappuccino_ml.verdict.superior import SuperiorSet, superior_set
from cappuccino_ml.verdict.validation import (
    Finding,
    Row,
    ValidationReport,
    load_report,
    store_report,
    validate,
)
from cappuccino_ml.verdict.variants import VariantScore, judge_variants

__all__ = [
    "REGIMES",
    "Clause",
    "CrossValidatedFinalist",
    "CrossValidationReport",
    "Difference",
    "Finalist",
    "Finding",
    "GateSettings",
    "HoldoutLedger",
    "NotTestableError",
    "Overfitting",
    "Point",
    "Power",
    "Reading",
    "RegimeBenchmark",
    "RegimeResult",
    "RegimeRule",
    "RegimeScore",
    "RegimeTable",
    "Row",
    "SampleEfficiency",
    "Selection",
    "SharpeTest",
    "Spell",
    "SuperiorSet",
    "ValidationReport",
    "VariantScore",
    "Verdict",
    "choose_incumbent",
    "cross_validation_report",
    "cscv",
    "expected_best_sharpe",
    "holdout_power",
    "judge",
    "judge_variants",
    "load_report",
    "market_regimes",
    "overfitting",
    "paired_difference",
    "paired_sharpe_test",
    "regime_benchmark",
    "regime_table",
    "resampled_means",
    "run_baselines",
    "sample_efficiency",
    "score_regimes",
    "sharpe_interval",
    "store_report",
    "superior_set",
    "validate",
]
