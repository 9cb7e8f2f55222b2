"""What the trading service says of itself, in one file, and what a person should worry about in it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from cappuccino_ml.core import Settings, read_settings, write_json
from cappuccino_ml.trading.deployment import Deployment

State = Literal["STARTING", "WAITING", "ACTIVE", "REDUCING", "HALTED", "STOPPED", "CRASHED"]
SILENT_AFTER = timedelta(minutes=5)  # a tick may take two, and asking for bars one more


class Health(Settings):
    """health.json. WAITING: no model trades; HALTED: until a person releases it; money in quote currency."""

    state: State = "STARTING"
    why: str = Field("", description="of a state that is not ACTIVE")
    pid: int
    market: str
    broker: str
    started: datetime
    heartbeat: datetime
    uptime_s: float = 0.0
    model_version: str | None = None
    model_arm: str | None = None
    model_key: str | None = None
    refused_version: str | None = Field(None, description="deployed, but it could not be used; an older one goes on")
    bar_decided: datetime | None = Field(None, description="close of the last decided bar")
    newest_bar: datetime | None = Field(None, description="close of the newest bar the source gave")
    feed_is_stale: bool = False
    equity: float | None = Field(None, description="at the last decided bar's close, before trading")
    peak: float | None = None
    drawdown: float | None = Field(None, description="share of the peak that is lost")
    bars_traded: int = Field(0, description="since the start")
    errors: int = Field(0, description="refused ticks and failed questions since the start")
    last_error: str = ""
    last_error_at: datetime | None = None

    def write(self, path: Path) -> None:
        """Replace the file at once."""
        write_json(path, self)


def read_health(path: Path) -> Health | None:
    """What the trader last said; None if it has never run."""
    return read_settings(Health, path) if path.exists() else None


def health_problems(
    health: Health | None,
    *,
    deployment: Deployment | None,
    wanted_version: str | None,
    now: datetime,
    by_clock: bool = True,
) -> list[str]:
    """Why a person should look, one sentence each; nothing when all is well.

    Args:
        health: what the trader says.
        deployment: the record it follows; None while nothing is deployed.
        wanted_version: what the registry's aliases name, None while there is no alias.
        now: the present moment.
        by_clock: whether the source has a new bar at each close; if not, that no trader runs is as it must be.
    """
    found = []
    deployed = deployment.version if deployment is not None else None
    if deployed != wanted_version:
        found.append(
            f"the aliases name version {wanted_version or 'none'}, but {deployed or 'none'} is deployed: look at the "
            "last run of paper_trader_deployment"
        )
    if health is None or health.state == "STOPPED":
        if deployed is not None and by_clock:
            stopped = "has never run" if health is None else f"was stopped at {health.heartbeat:%Y-%m-%d %H:%M} UTC"
            found.append(f"version {deployed} is deployed, but the trader {stopped}: materialize paper_trader")
        return found
    age = now - health.heartbeat
    if health.state == "CRASHED":
        found.append(f"the trader crashed: {health.why}")
    elif age > SILENT_AFTER:
        found.append(
            f"the last heartbeat is {age.total_seconds():.0f} s old, the limit is {SILENT_AFTER.total_seconds():.0f}: "
            "the process is gone or hangs; materialize paper_trader"
        )
    if health.state == "HALTED":
        found.append(f"the trader is halted: {health.why}")
    if deployed is not None and health.model_version != deployed:
        found.append(
            f"version {deployed} is deployed, but {health.model_version or 'none'} trades"
            + (f": {health.last_error}" if health.refused_version == deployed and health.last_error else "")
        )
    if health.feed_is_stale:
        newest = f"{health.newest_bar:%Y-%m-%d %H:%M} UTC" if health.newest_bar else "never"
        found.append(f"the newest bar closed at {newest}, the feed is stale: look at the source")
    return found
