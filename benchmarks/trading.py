"""How long a decision takes, and how long a whole tick with its orders, its durable ledger and its report to disk."""

import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.features import made_bars
from cappuccino_ml.bars import BarPanel
from cappuccino_ml.core import ManualClock
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.environment import Guards
from cappuccino_ml.features import CONTEXT_BARS, FEATURES, FeatureSchema, Scaler
from cappuccino_ml.policy import Actor, AgentConfig, AgentSettings, TrainingSettings, build_agent
from cappuccino_ml.trading import NO_LIMITS, Ledger, OpenQuotes, Order, OrderState, PanelFeed, SimulatedBroker, Trader
from cappuccino_ml.trading.feed import close_time

TARGET_DECISION_P99_MS, TARGET_TICK_SECONDS_MAX = 50.0, 2.0
TICKS = 300


class TimedBroker(SimulatedBroker):
    """Notes when the first order of a tick gets to the broker: the decision has been taken by then."""

    first_at: float | None = None

    def submit(self, order: Order) -> OrderState:
        self.first_at = self.first_at or time.perf_counter()
        return super().submit(order)


class Restless(Actor):
    """The network is asked, and then the wish is replaced by one that trades every ticker at every bar."""

    def act(self, window: NDArray[np.float64], entries: NDArray[np.float32]) -> NDArray[np.float64]:
        wish = super().act(window, entries)
        return np.where(entries[1:] > 0.05, -1.0, 1.0) + 0 * wish


def untrained(panel: BarPanel) -> Actor:
    """An FT-Transformer of the default shape at lookback 10; its weights do not matter for its speed."""
    agent = AgentSettings(arm="ft_scratch", lookback=10, encoder=EncoderSettings(lookback=10))
    tickers, features = len(panel.universe.tickers), len(FEATURES)
    config = AgentConfig(
        training=TrainingSettings(agent=agent, guards=Guards(max_drawdown=0.99)),
        feature_schema=FeatureSchema.of(panel.universe),
        scaler=Scaler(center=((0.0,) * features,) * tickers, scale=((1.0,) * features,) * tickers),
        dataset_key="benchmark",
        rows=(0, 1),
        trained_until=datetime(2024, 1, 1, tzinfo=UTC),
        seed=0,
        encoder_key=None,
        code="benchmark",
        key="benchmark",
    )
    return Restless(agent=build_agent(agent, tickers=tickers, features=features, seed=0), config=config)


def main() -> int:
    panel = made_bars(rows=CONTEXT_BARS + TICKS + 2)
    actor, clock = untrained(panel), ManualClock(close_time(panel, CONTEXT_BARS))
    broker = TimedBroker(
        symbols=panel.universe.symbols,
        cash=Decimal(1_000_000),
        costs=actor.costs,
        quotes=OpenQuotes(panel, clock),
        clock=clock,
    )
    decisions, ticks = [], []
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db") as ledger:
        trader = Trader(
            actor=actor,
            model_version="1",
            feed=PanelFeed(panel),
            broker=broker,
            ledger=ledger,
            clock=clock,
            limits=NO_LIMITS,
        )
        for row in range(CONTEXT_BARS, CONTEXT_BARS + TICKS):
            clock.set(close_time(panel, row))
            broker.first_at = None
            began = time.perf_counter()
            trader.tick()
            ticks.append(time.perf_counter() - began)
            if broker.first_at is not None:
                decisions.append(broker.first_at - began)
    p99_ms, slowest_s = float(np.percentile(decisions, 99)) * 1e3, max(ticks)
    print(f"{'7 tickers, FT-Transformer, ledger on disk':48}{'measured':>12}{'target':>12}")
    print(f"{'bar to first order, median ms':48}{float(np.median(decisions)) * 1e3:>12.1f}")
    print(f"{'bar to first order, p99 ms':48}{p99_ms:>12.1f}{f'<= {TARGET_DECISION_P99_MS:g}':>12}")
    print(f"{'whole tick with its orders, slowest s':48}{slowest_s:>12.3f}{f'<= {TARGET_TICK_SECONDS_MAX:g}':>12}")
    print(json.dumps({"decision_p99_ms": round(p99_ms, 3), "tick_seconds_max": round(slowest_s, 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
