"""A small market, a small model, and a desk: trader, simulated broker and ledger around a clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ManualClock
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.features import FEATURES, FeatureSchema, latest_features
from cappuccino_ml.trading import (
    NO_LIMITS,
    BarFeed,
    BrokerSilentError,
    DuplicateOrderError,
    Habits,
    Ledger,
    Limits,
    OpenQuotes,
    Order,
    OrderState,
    PanelFeed,
    SimulatedBroker,
    Trader,
    engine,
)
from cappuccino_ml.trading.feed import close_time, closed_rows

UNIVERSE = Universe(tickers=("BTC", "ETH", "UNI"))
FIRST = 320
Floats = NDArray[np.float64]
# Rough centre and spread of each feature, so that the small model reacts to all fourteen and neither sticks nor rests.
CENTER = np.array([0.0] * 8 + [50.0, 0.0, 25.0, 0.0, 0.0, 0.0])
SCALE = np.array([0.02] * 4 + [1.0, 0.01, 0.01, 0.004, 15.0, 100.0, 15.0, 0.2, 1.0, 3.0])


def make_panel(*, seed: int = 0, bars: int = 400, filled: float = 0.05, universe: Universe = UNIVERSE) -> BarPanel:
    """A random walk; a share of the bars is filled in, by the rules of the canonical grid."""
    rng = np.random.default_rng(seed)
    shape = (bars, len(universe.tickers))
    close = np.array([30_000.0, 2_000.0, 5.0])[: shape[1]] * np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0))
    open_ = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.002, shape))
    is_filled = rng.random(shape) < filled
    is_filled[0] = False
    for t in range(1, bars):
        close[t] = np.where(is_filled[t], close[t - 1], close[t])
        open_[t] = np.where(is_filled[t], close[t - 1], open_[t])
    wick = np.where(is_filled, 1.0, np.exp(np.abs(rng.normal(0, 0.003, shape))))
    return BarPanel(
        universe=universe,
        timestamps=np.datetime64("2024-01-01", "us") + np.arange(bars) * np.timedelta64(universe.bar),
        open=open_,
        high=np.maximum(open_, close) * wick,
        low=np.minimum(open_, close) / wick,
        close=close,
        volume=np.where(is_filled, 0.0, np.exp(rng.normal(3, 1, shape))),
        is_filled=is_filled,
    )


@dataclass
class FakeActor:
    """Obeys the actor's interface: a fixed random linear map of the newest features and the holdings."""

    universe: Universe = UNIVERSE
    lookback: int = 3
    guards: Guards = field(default_factory=lambda: Guards(max_drawdown=0.9))
    costs: Costs = field(default_factory=lambda: Costs(slippage_bps=3.0))
    arm: str = "mlp"
    key: str = "fake-model"
    rule: Callable[[Floats, NDArray[np.float32]], Floats] | None = None
    seen: list[Floats] = field(default_factory=list)

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema.of(self.universe)

    def act(self, window: Floats, entries: NDArray[np.float32]) -> Floats:
        assert window.shape == (self.lookback, len(self.universe.tickers), len(FEATURES))
        assert entries.shape == (1 + len(self.universe.tickers),)
        self.seen.append(window)
        if self.rule is not None:
            return self.rule(window, entries)
        scaled = ((window - CENTER) / SCALE).astype(np.float32)
        weights = np.random.default_rng(7).normal(size=(self.lookback, len(FEATURES))).astype(np.float32)
        signal = np.einsum("lnf,lf->n", scaled, weights) / np.float32(np.sqrt(weights.size))
        return np.tanh(signal.astype(np.float64) - entries[1:] + 0.3)


def always(*action: float) -> Callable[[Floats, NDArray[np.float32]], Floats]:
    return lambda window, entries: np.array(action)


class CrashError(Exception):
    """The process dies here."""


class CrashingLedger(Ledger):
    """Dies at the n-th row, before or after it is on disk."""

    crash_at: int = -1
    after: bool = False
    count: int = 0

    def record(self, kind, payload, *, at):  # type: ignore[no-untyped-def]
        self.count += 1
        if self.count == self.crash_at and not self.after:
            raise CrashError
        row = super().record(kind, payload, at=at)
        if self.count == self.crash_at:
            raise CrashError
        return row


class WatchedBroker(SimulatedBroker):
    """Counts what reaches it, and can lose a request or its answer."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.submitted: list[Order] = []
        self.lose: str | None = None  # "request", "answer" or "retry", for every submit while set
        self.on_submit: Callable[[], None] | None = None

    def submit(self, order: Order) -> OrderState:
        if self.on_submit is not None:
            self.on_submit()
        if self.lose == "request":
            raise BrokerSilentError("connection refused")
        self.submitted.append(order)
        answer = super().submit(order)
        if self.lose == "answer":
            raise BrokerSilentError("connection cut")
        if self.lose == "retry":
            raise DuplicateOrderError("client_order_id must be unique")
        return answer

    @property
    def ids(self) -> list[str]:
        return [order.client_order_id for order in self.submitted]


@dataclass
class Desk:
    """Everything around one account; `open()` starts a trader, `close()` ends it as a kill would."""

    panel: BarPanel
    actor: FakeActor
    path: Path
    clock: ManualClock
    broker: Any
    ledger: Ledger | None = None
    limits: Limits = NO_LIMITS
    feed: BarFeed | None = None  # instead of the panel
    slept: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def open(
        self,
        *,
        ledger_type: type[Ledger] = Ledger,
        version: str = "1",
        kill_file: Path | None = None,
        **ledger_settings: object,
    ) -> Trader:
        self.close()
        self.ledger = ledger_type(self.path, durable=False)
        for name, value in ledger_settings.items():
            setattr(self.ledger, name, value)
        return Trader(
            actor=self.actor,
            model_version=version,
            feed=self.feed or PanelFeed(self.panel),
            broker=self.broker,
            ledger=self.ledger,
            clock=self.clock,
            kill_file=kill_file,
            limits=self.limits,
            sleep=self.sleep,
            tell=self.told.append,
        )

    def sleep(self, seconds: float) -> None:
        """Wait without waiting."""
        self.slept.append(seconds)
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None

    def at(self, row: int) -> None:
        """Set the clock to the close of bar `row`, unless waiting took it further."""
        self.clock.set(max(self.clock.now(), close_time(self.panel, row)))

    @property
    def row(self) -> int:
        """The newest closed bar."""
        return closed_rows(self.panel, self.clock.now()) - 1

    def kinds(self) -> list[str]:
        assert self.ledger is not None
        return [row.kind for row in self.ledger.rows()]


def make_desk(
    path: Path,
    *,
    panel: BarPanel | None = None,
    actor: FakeActor | None = None,
    cash: str = "100000",
    broker_type: type[SimulatedBroker] = WatchedBroker,
    habits: Habits | None = None,
) -> Desk:
    panel = panel or make_panel(filled=0.0)
    actor = actor or FakeActor()
    clock = ManualClock(close_time(panel, FIRST))
    broker = broker_type(
        symbols=panel.universe.symbols,
        cash=Decimal(cash),
        costs=actor.costs,
        quotes=OpenQuotes(panel, clock),
        habits=habits,
        clock=clock,
    )
    return Desk(panel=panel, actor=actor, path=path / "ledger.db", clock=clock, broker=broker)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path)


@pytest.fixture
def quick_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same window of bars has the same features: compute them once for hundreds of traders."""
    known: dict[tuple[object, ...], Floats] = {}

    class Remembered:
        def window(self, panel: BarPanel, *, lookback: int) -> Floats:
            key = (panel.timestamps[0], panel.timestamps[-1], panel.close[-1].tobytes(), lookback)
            if key not in known:
                known[key] = latest_features(panel)[-lookback:]
            return known[key]

    monkeypatch.setattr(engine, "FeatureStream", Remembered)
