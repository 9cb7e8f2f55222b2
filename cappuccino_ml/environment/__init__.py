"""The timing contract, costs, guards, batched accounting, the environments, their checker and the backtest."""

from cappuccino_ml.environment.backtest import Act, Backtest, backtest, backtests
from cappuccino_ml.environment.check import (
    EnvironmentFinding,
    EnvironmentReport,
    Playable,
    check_environment,
    of_episodes,
    of_rollouts,
)
from cappuccino_ml.environment.costs import Costs, per_ticker
from cappuccino_ml.environment.episodes import Episodes
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book, decide, settle, shrink_buys
from cappuccino_ml.environment.positions import CPU, Positions
from cappuccino_ml.environment.reward import Reward
from cappuccino_ml.environment.segments import SegmentedEnv
from cappuccino_ml.environment.vector import Layout, Step, VectorEnv

__all__ = [
    "CPU",
    "Act",
    "Backtest",
    "Book",
    "Costs",
    "EnvironmentFinding",
    "EnvironmentReport",
    "Episodes",
    "Guards",
    "Layout",
    "Playable",
    "Positions",
    "Reward",
    "SegmentedEnv",
    "Step",
    "VectorEnv",
    "backtest",
    "backtests",
    "check_environment",
    "decide",
    "of_episodes",
    "of_rollouts",
    "per_ticker",
    "settle",
    "shrink_buys",
]
