"""The timing contract, costs, guards, batched accounting, the vector environment and the backtest."""

from cappuccino_ml.environment.backtest import Act, Backtest, backtest, backtests
from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book, decide, settle, shrink_buys
from cappuccino_ml.environment.reward import Reward
from cappuccino_ml.environment.vector import Layout, Step, VectorEnv

__all__ = [
    "Act",
    "Backtest",
    "Book",
    "Costs",
    "Guards",
    "Layout",
    "Reward",
    "Step",
    "VectorEnv",
    "backtest",
    "backtests",
    "decide",
    "settle",
    "shrink_buys",
]
