"""A service's surroundings: a deployment record with models behind it, a broker, a clock that waiting moves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import Alert, CheckpointError, ManualClock, write_json
from cappuccino_ml.trading import (
    NO_LIMITS,
    Deployment,
    DeploymentFollower,
    Health,
    Ledger,
    Limits,
    OpenQuotes,
    Pace,
    PanelFeed,
    Service,
    Tick,
)
from cappuccino_ml.trading.feed import close_time

from .conftest import FIRST, FakeActor
from .faulty import FaultyBroker

HOUR = timedelta(hours=1)
NAMES = ("toy", "simulated")


class Told:
    """Keeps every alert."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def send(self, alert: Alert) -> None:
        self.reasons.append(alert.reason)

    def close(self) -> None:
        pass


@dataclass
class Shop:
    """A deployment record with models behind it, and everything a service needs; time passes by waiting only."""

    root: Path
    panel: BarPanel
    models: dict[str, FakeActor] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(heartbeat_s=600, nap_s=600))
    limits: Limits = NO_LIMITS
    told: Told = field(default_factory=Told)
    ticks: list[Tick] = field(default_factory=list)
    published: list[Health] = field(default_factory=list)
    at: dict[datetime, Callable[[], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = ManualClock(close_time(self.panel, FIRST))
        self.broker = FaultyBroker(
            symbols=self.panel.universe.symbols,
            cash=Decimal(100_000),
            costs=FakeActor().costs,
            quotes=OpenQuotes(self.panel, self.clock),
            clock=self.clock,
        )
        self.feed = PanelFeed(self.panel)

    def sleep(self, seconds: float) -> None:
        self.clock.set(self.clock.now() + timedelta(seconds=seconds))
        for moment in sorted(self.at):
            if moment <= self.clock.now():
                self.at.pop(moment)()

    def load(self, folder: Path) -> FakeActor:
        if folder.name not in self.models:
            raise CheckpointError(f"{folder.name} is altered.")
        return self.models[folder.name]

    def deploy(self, version: str, *, key: str | None = None) -> None:
        model = self.models.get(version)
        record = Deployment(
            version=version,
            alias="challenger",
            key=key or (model.key if model else "lost"),
            arm="mlp",
            schema_hash="0",
            folder=str(self.root / version),
            previous=None,
            who="a test",
            when=self.clock.now(),
            why="a test",
        )
        write_json(self.root / "deployment.json", record)

    def service(self, ledger: Ledger) -> Service:
        follower = DeploymentFollower(
            record=self.root / "deployment.json",
            last_good=self.root / "last_good.json",
            load=self.load,
            universe=self.panel.universe,
        )
        return Service(
            follower=follower,
            open_broker=lambda model: self.broker,
            feed=self.feed,
            ledger=ledger,
            universe=self.panel.universe,
            clock=self.clock,
            sleep=self.sleep,
            publish=self.publish,
            alerts=self.told,
            limits=self.limits,
            kill_file=self.root / "KILL",
            pace=self.pace,
            names=NAMES,
            told=self.ticks.append,
        )

    def publish(self, health: Health) -> None:
        self.published.append(health)
        health.write(self.root / "health.json")

    def run(self, *, bars: int) -> Health:
        with Ledger(self.root / "ledger.db", durable=False) as ledger:
            self.service(ledger).run(until=self.clock.now() + (bars - 1) * HOUR)
        return self.published[-1]

    def versions(self) -> list[str]:
        with Ledger(self.root / "ledger.db", durable=False) as ledger:
            return [row.payload["version"] for row in ledger.rows() if row.kind == "decision"]


def keyed(version: str, **settings: object) -> FakeActor:
    return FakeActor(key=f"model-{version}", **settings)  # type: ignore[arg-type]
