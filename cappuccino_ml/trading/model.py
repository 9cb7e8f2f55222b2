"""What the trader needs of a model: inference and the settings it was trained with, nothing of the training."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.features import FeatureSchema


class ModelFailedError(TradingError):
    """The model gave no action that can be used; another model might."""


class TradingModel(Protocol):
    """`policy.actor.Actor` as the trader sees it. N tickers, F features, L = `lookback` bars."""

    @property
    def schema(self) -> FeatureSchema:
        """What the features must mean."""
        ...

    @property
    def lookback(self) -> int:
        """L, bars."""
        ...

    @property
    def guards(self) -> Guards:
        """Limits it was trained with."""
        ...

    @property
    def costs(self) -> Costs:
        """Costs it was trained with."""
        ...

    @property
    def arm(self) -> str:
        """mlp, ft_scratch or ft_pretrained."""
        ...

    @property
    def key(self) -> str:
        """Its digest: which model acts."""
        ...

    def act(self, window: NDArray[np.float64], entries: NDArray[np.float32]) -> NDArray[np.float64]:
        """Stationary, unscaled features [L, N, F] of closed bars and portfolio entries [1 + N] -> action [N]."""
        ...
