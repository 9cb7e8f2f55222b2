"""`python -m tests.pipeline.trader_child URL SINCE`: the real trader on a look-alike account, at a fixed hour."""

import sys
from datetime import UTC, datetime, timedelta

import numpy as np

from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import SystemClock
from cappuccino_ml.policy import Actor
from cappuccino_ml.trading import AlpacaBroker
from cappuccino_pipeline import trader
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.resources import Cappuccino

CLOSE = datetime(2026, 1, 5, 12, tzinfo=UTC)


def now_at(since: datetime) -> datetime:
    """Ten seconds after `CLOSE`, and as long after that as `since` is ago."""
    return CLOSE + timedelta(seconds=10) + (datetime.now(UTC) - since)


class ShiftedClock(SystemClock):
    """Runs as the machine's, from another beginning."""

    def __init__(self, since: datetime) -> None:
        self._since = since

    def now(self) -> datetime:
        return now_at(self._since)


def main() -> None:
    url, since = sys.argv[1], datetime.fromisoformat(sys.argv[2])
    configuration = Configuration.read()
    cappuccino = Cappuccino(configuration, clock=ShiftedClock(since))
    assert configuration.alpaca_key is not None
    assert configuration.alpaca_secret is not None
    broker = AlpacaBroker(
        key=configuration.alpaca_key,
        secret=configuration.alpaca_secret,
        clock=cappuccino.clock,
        url=url,
        data_url=url,
        retry=RetrySettings(tries=2, first_wait_s=0.2, timeout_s=2.0),
    )
    trader.broker_of = lambda given, model: broker
    Actor.act = lambda self, window, entries: np.ones(len(entries) - 1)  # type: ignore[method-assign]
    trader.run(cappuccino)


if __name__ == "__main__":
    main()
