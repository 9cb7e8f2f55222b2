"""One tick of a trader in a process of its own: `python -m tests.trading.child URL LEDGER`, for the tests of kills."""

import sys
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from cappuccino_ml.bars.retries import RetrySettings
from cappuccino_ml.core import ManualClock, TradingError
from cappuccino_ml.trading import NO_LIMITS, AlpacaBroker, Ledger, PanelFeed, Trader
from cappuccino_ml.trading.feed import close_time

from .conftest import FIRST, FakeActor, make_panel

KEYS = ("PKCANARY0KEY", "canary+secret/0123456789")


def main() -> int:
    url, path = sys.argv[1:]
    panel = make_panel(filled=0.0)
    clock = ManualClock(close_time(panel, FIRST))
    broker = AlpacaBroker(
        key=SecretStr(KEYS[0]),
        secret=SecretStr(KEYS[1]),
        clock=clock,
        url=url,
        data_url=url,
        retry=RetrySettings(tries=1, timeout_s=10.0),
        sleep=lambda seconds: None,
    )
    actor = FakeActor(rule=lambda window, entries: np.array([1.0, 0.0, 0.0]))
    with Ledger(Path(path)) as ledger:
        try:
            trader = Trader(
                actor=actor,
                model_version="1",
                feed=PanelFeed(panel),
                broker=broker,
                ledger=ledger,
                clock=clock,
                limits=NO_LIMITS,
                sleep=lambda seconds: None,
            )
            print(trader.tick().status)
        except TradingError as error:
            print(error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
