"""The trader's process from outside: what was asked for, whether it lives, and its restart when it has died."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from filelock import FileLock, Timeout
from pydantic import Field

from cappuccino_ml.bars.alpaca_source import KEY_NAMES
from cappuccino_ml.core import CappuccinoError, Settings, TradingError, read_settings, write_json
from cappuccino_ml.core.files import make_folder
from cappuccino_ml.trading import Health, TradingState, is_held, read_health, read_ledger
from cappuccino_pipeline.configuration import REPOSITORY, Configuration
from cappuccino_pipeline.machine import began, lives
from cappuccino_pipeline.resources import Cappuccino

COMMAND = (sys.executable, "-m", "cappuccino_pipeline", "trade")
RESTARTS = 3  # within `WITHIN`; one that dies again has a reason that a person must find
WITHIN = timedelta(hours=1)
HELD = (
    "a process holds the ledger, but none of the number and the age that its files name is there (was the machine's "
    "clock set?); nothing is started beside it, end it by hand"
)
LOCK_TIMEOUT_S = 150.0  # a start waits two minutes for the first heartbeat

_started: list["subprocess.Popen[bytes]"] = []  # asked after, or a long-lived parent would keep them as zombies


class Wish(Settings):
    """wanted.json: what was last asked for, and what was started for it. A trader in the foreground writes none."""

    wanted: bool
    asked: datetime
    pid: int = Field(description="of the process that was started for it last")
    began: datetime = Field(description="when that process did, by the machine's clock")
    restarts: tuple[datetime, ...] = Field((), description="since it was asked for")

    @property
    def gave_up(self) -> bool:
        """Whether the last restarts came too fast; this holds until a person starts it."""
        last = self.restarts[-RESTARTS:]
        return len(last) == RESTARTS and last[-1] - last[0] <= WITHIN

    @property
    def lives(self) -> bool:
        """Whether the process that was started last is there."""
        return lives(self.pid, since=self.began)


def read_wish(configuration: Configuration) -> Wish | None:
    """What was last asked for; None before the first start apart."""
    path = configuration.wish_file
    return read_settings(Wish, path) if path.exists() else None


def write_wish(configuration: Configuration, wish: Wish) -> None:
    """Replace the file at once."""
    write_json(configuration.wish_file, wish)


@contextmanager
def one_hand(configuration: Configuration, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Nobody else starts, stops or restarts the trader of this account meanwhile.

    Raises:
        TradingError: somebody else is at it for longer than `timeout_s`.
    """
    make_folder(configuration.account_root)
    try:
        with FileLock(f"{configuration.wish_file}.lock").acquire(timeout=timeout_s):
            yield
    except Timeout:
        raise TradingError(
            f"another command or run is starting or stopping the trader in {configuration.account_root}; wait for it."
        ) from None


def spawn(configuration: Configuration) -> "subprocess.Popen[bytes]":
    """The trader in a session of its own; its words go to `trader.log`."""
    for process in _started:
        process.poll()
    _started[:] = [process for process in _started if process.returncode is None]
    with configuration.trader_log.open("ab") as output:
        process = subprocess.Popen(
            COMMAND,
            cwd=REPOSITORY,
            env=os.environ | environment_of(configuration),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # neither Ctrl-C here nor the end of a Dagster run reaches it
        )
    _started.append(process)
    return process


def running_trader(configuration: Configuration) -> Health | None:
    """Health of the trader whose process is alive; None if there is none."""
    health = read_health(configuration.health_file)
    return health if health is not None and lives(health.pid, since=health.started) else None


def keep_running(cappuccino: Cappuccino) -> str:
    """Start a trader again that is wanted and has died -> what was done, "" if nothing.

    Whatever stands in the way (`obstacle`) is a person's to remove: nothing here lifts a halt or a kill file, and after
    `RESTARTS` within `WITHIN` nothing is started any more. A process that hangs is left alone and told of.

    Raises:
        CappuccinoError: a file of it cannot be read or written.
    """
    configuration, now = cappuccino.configuration, cappuccino.clock.now()
    if _wanted_and_gone(configuration) is None:
        return ""
    try:
        with one_hand(configuration, timeout_s=0):
            wish = _wanted_and_gone(configuration)
            if wish is None or obstacle(configuration, wish) or is_held(configuration.ledger_file):
                return ""
            restarts = (*wish.restarts, now)
            wish = wish.model_copy(update={"restarts": restarts})
            write_wish(configuration, wish)  # first: one that cannot be counted is not started
            process = spawn(configuration)
            write_wish(configuration, wish.model_copy(update={"pid": process.pid, "began": began(process.pid)}))
    except TradingError:  # a person is at it
        return ""
    lately = sum(now - when <= WITHIN for when in restarts)
    return (
        f"the trader's process was gone{_last_words(configuration)}; process {process.pid} was started in its place, "
        f"restart {lately} of at most {RESTARTS} within an hour"
    )


def trouble(configuration: Configuration) -> list[str]:
    """That a trader is wanted and has died, and what will come of it; nothing if it lives or is not wanted."""
    wish = _wanted_and_gone(configuration)
    if wish is None:
        return []
    if is_held(configuration.ledger_file):
        return [f"{HELD}{_last_words(configuration)}"]
    comes = obstacle(configuration, wish) or "watch_trader starts it again within a minute while Dagster runs"
    return [f"the trader is wanted, but its process is gone{_last_words(configuration)}: {comes}"]


def wanted_words(configuration: Configuration) -> str:
    """Whether it should run, since when, and how often it had to be started again."""
    wish = read_wish(configuration)
    if wish is None:
        return "never asked for by `start` or `stop`, so nothing restarts it"
    again = f", started again {len(wish.restarts)} times since" if wish.restarts else ""
    return f"{'yes' if wish.wanted else 'no'}, asked {wish.asked:%Y-%m-%d %H:%M} UTC{again}"


def obstacle(configuration: Configuration, wish: Wish) -> str:
    """Why a dead trader is not started again, with the way out; "" if nothing stands in the way."""
    if configuration.kill_file.exists():
        return f"it is not started again while {configuration.kill_file} exists"
    if wish.gave_up:
        return (
            f"it is not started again, for it was {RESTARTS} times within an hour; read {configuration.trader_log}, "
            "then `cappuccino trade start`"
        )
    if not configuration.ledger_file.exists():
        return ""
    try:
        stopped = TradingState.replay(read_ledger(configuration.ledger_file)).stopped
    except CappuccinoError as error:
        return f"it is not started again: {error}"
    return f"it is not started again, for the account is halted: {stopped}" if stopped else ""


def environment_of(configuration: Configuration) -> dict[str, str]:
    """The variables that make another process read the same configuration."""
    universe = configuration.universe
    values: dict[str, object | None] = {
        "STATE": configuration.state,
        "SOURCE": configuration.source,
        "FILES_DIR": configuration.files_folder,
        "EXCHANGE": configuration.exchange,
        "SINCE": f"{configuration.since:%Y-%m-%d}" if configuration.source in ("ccxt", "alpaca") else None,
        "URL": configuration.url,
        "TICKERS": ",".join(universe.tickers),
        "QUOTE": universe.quote,
        "TIMEFRAME": universe.timeframe,
        "BUDGET": configuration.budget,
        "SEED": configuration.seed,
        "BROKER": configuration.broker,
        "ALERT_URL": configuration.alert_url.get_secret_value() if configuration.alert_url else None,
    }
    keys = {
        name: secret.get_secret_value() if secret else ""
        for name, secret in zip(KEY_NAMES, (configuration.alpaca_key, configuration.alpaca_secret), strict=True)
    }
    return {f"CAPPUCCINO_{name}": "" if value is None else str(value) for name, value in values.items()} | keys


def _wanted_and_gone(configuration: Configuration) -> Wish | None:
    wish = read_wish(configuration)
    gone = wish is not None and wish.wanted and not wish.lives and running_trader(configuration) is None
    return wish if gone else None


def _last_words(configuration: Configuration) -> str:
    health = read_health(configuration.health_file)
    if health is None:
        return ""
    why = f", {health.why}" if health.why else ""
    return f" (process {health.pid}, {health.state}{why}, last heartbeat {health.heartbeat:%Y-%m-%d %H:%M:%S} UTC)"
