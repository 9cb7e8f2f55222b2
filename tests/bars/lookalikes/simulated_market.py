"""The simulated exchange behind a look-alike: every venue then has the same bars."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from cappuccino_ml.bars import SimulatedSource, Universe
from lookalikes.server import Market, Row, ms


@dataclass
class SimulatedMarket(Market):
    """Serves `SimulatedSource` from `first` on, the forming bar of `now` included."""

    def rows(self, symbol: str, bar: timedelta, *, since: int | None = None, until: int | None = None) -> list[Row]:
        source = SimulatedSource(start=self.first, end=self.now + bar)
        bars = source.fetch(symbol=symbol, universe=Universe(), start=self.first, end=self.now + bar)
        opened = bars["timestamp"].astype("datetime64[ms, UTC]").astype("int64")
        inside = (opened <= ms(self.now)) & (opened >= (since or 0)) & (opened < (until or np.inf))
        inside &= ~opened.isin([ms(moment) for moment in self.holes])
        numbers = bars[inside].drop(columns="timestamp").itertuples(index=False, name=None)
        return [(t, *row) for t, row in zip(opened[inside].tolist(), numbers, strict=True)]
