"""The timing contract, costs, guards, batched accounting, the vector environment and the backtest."""

from cappuccino_ml.environment.backtest import Act, Backtest, backtest
from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book, decide, settle, shrink_buys

__all__ = ["Act", "Backtest", "Book", "Costs", "Guards", "backtest", "decide", "settle", "shrink_buys"]
