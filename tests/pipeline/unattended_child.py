"""`python -m tests.pipeline.unattended_child URL SINCE`: the real trader on a look-alike account, on a fast clock."""

import os
import sys
from datetime import UTC, datetime

from cappuccino_ml.core import SystemClock
from cappuccino_ml.trading import AlpacaBroker
from cappuccino_pipeline import trader
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.resources import Cappuccino

# A minute's bar closes every 20 s and is fresh for 10 s; UNATTENDED_SPEED=1 gives a busy machine as long as life does.
SPEED = int(os.environ.get("UNATTENDED_SPEED", "3"))


class FastClock(SystemClock):
    """The machine's clock until `since`, and `SPEED` times as fast from then on: it never stands still."""

    def __init__(self, since: datetime) -> None:
        self._since = since

    def now(self) -> datetime:
        """The present moment."""
        return self._since + SPEED * (datetime.now(UTC) - self._since)


def main() -> None:
    url, since = sys.argv[1], datetime.fromisoformat(sys.argv[2])
    configuration = Configuration.read()
    cappuccino = Cappuccino(configuration, clock=FastClock(since))
    assert configuration.alpaca_key is not None
    assert configuration.alpaca_secret is not None
    broker = AlpacaBroker(
        key=configuration.alpaca_key,
        secret=configuration.alpaca_secret,
        clock=cappuccino.clock,
        url=url,
        data_url=url,
    )
    trader.broker_of = lambda given, model: broker
    trader.run(cappuccino)


if __name__ == "__main__":
    main()
