"""The timing contract, costs, guards, batched accounting, the vector environment and the backtest."""

from cappuccino_ml.environment.backtest import Act, Backtest, backtest, backtests
from cappuccino_ml.environment.costs import Costs, per_ticker
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book, decide, settle, shrink_buys
from cappuccino_ml.environment.positions import Positions
from cappuccino_ml.environment.reward import Reward
from cappuccino_ml.environment.vector import Layout, Step, VectorEnv

__all__ = [
    "Act",
    "Backtest",
    "Book",
    "Costs",
    "Guards",
    "Layout",
    "Positions",
    "Reward",
    "Step",
    "VectorEnv",
    "backtest",
    "backtests",
    "decide",
    "per_ticker",
    "settle",
    "shrink_buys",
]
