"""Is a policy better than what runs now, net of costs, and how sure is that: baselines, significance, holdout, gate."""

from cappuccino_ml.verdict.baselines import run_baselines
from cappuccino_ml.verdict.bootstrap import SharpeTest, paired_sharpe_test, sharpe_interval
from cappuccino_ml.verdict.gate import Clause, GateSettings, Verdict, choose_incumbent, judge
from cappuccino_ml.verdict.holdout import HoldoutLedger, Reading
from cappuccino_ml.verdict.power import Power, holdout_power

__all__ = [
    "Clause",
    "GateSettings",
    "HoldoutLedger",
    "Power",
    "Reading",
    "SharpeTest",
    "Verdict",
    "choose_incumbent",
    "holdout_power",
    "judge",
    "paired_sharpe_test",
    "run_baselines",
    "sharpe_interval",
]
