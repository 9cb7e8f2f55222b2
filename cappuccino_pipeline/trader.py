"""The trader as a process: put together and run here, or started apart, stopped, shown, restricted and released."""

import logging
import signal
import time
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal

import pandas as pd
import psutil

from cappuccino_ml.bars import read_bars
from cappuccino_ml.bars.schema import empty_bars
from cappuccino_ml.core import CappuccinoError, DataError, TradingError
from cappuccino_ml.core.files import make_folder
from cappuccino_ml.policy import Actor
from cappuccino_ml.trading import (
    AlpacaBroker,
    Broker,
    DeploymentFollower,
    Health,
    Ledger,
    Service,
    SourceFeed,
    SourceQuotes,
    StoredBroker,
    TradingModel,
    health_problems,
    is_held,
    read_deployment,
    read_health,
)
from cappuccino_ml.trading import release as release_ledger
from cappuccino_ml.trading import restrict as restrict_ledger
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.facts import REPLAYED
from cappuccino_pipeline.machine import began, lives
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.supervision import (
    HELD,
    Wish,
    one_hand,
    read_wish,
    running_trader,
    spawn,
    trouble,
    wanted_words,
    write_wish,
)

CAPITAL = Decimal(100_000)  # of a new simulated account, quote currency
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 240.0  # a tick on its way has 120 s, what is open then 20, each with one more answer to wait for


def run(cappuccino: Cappuccino | None = None) -> None:
    """Trade until SIGINT or SIGTERM, with what the environment asks for unless `cappuccino` is given.

    Raises:
        CappuccinoError: another trader holds the account, its ledger was altered, or the configuration does not fit.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    cappuccino = cappuccino or Cappuccino(Configuration.read())
    make_folder(cappuccino.configuration.account_root)
    with Ledger(cappuccino.configuration.ledger_file) as ledger:
        service = service_of(cappuccino, ledger)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: service.ask_to_stop())
        try:
            service.run()
        finally:
            cappuccino.alerts.close()


def service_of(cappuccino: Cappuccino, ledger: Ledger) -> Service:
    """The service over the configured source, broker and deployment."""
    configuration, universe = cappuccino.configuration, cappuccino.configuration.universe
    feed = SourceFeed(
        cappuccino.live_source,
        universe,
        history=lambda since: _history(cappuccino, since),
        since=cappuccino.coverage[0],
        give_up=lambda: service.stopping,
    )
    service = Service(
        follower=DeploymentFollower(
            record=configuration.deployment_record,
            last_good=configuration.account_root / "last_good.json",
            load=Actor.load,
            universe=universe,
        ),
        open_broker=lambda model: broker_of(cappuccino, model),
        feed=feed,
        ledger=ledger,
        universe=universe,
        clock=cappuccino.clock,
        sleep=time.sleep,
        publish=lambda health: health.write(configuration.health_file),
        alerts=cappuccino.alerts,
        kill_file=configuration.kill_file,
        names=(configuration.market, configuration.broker),
    )
    return service


def start(configuration: Configuration) -> str:
    """Start a trader in a session of its own, unless one runs, and want it from now on -> what came of it.

    Raises:
        CappuccinoError: its source has no new bars, it ended at once, or did not say within two minutes how it is.
    """
    Cappuccino(configuration).require_new_bars()
    with one_hand(configuration):
        running, wish = running_trader(configuration), read_wish(configuration)
        if running is not None:
            if wish is not None and wish.pid == running.pid:
                _want(configuration, wish.pid, wish.began)
            return f"a trader runs already: {_summary(running)}"
        if wish is None or not wish.lives:
            process = spawn(configuration)
            pid, since = process.pid, began(process.pid)
        else:  # the sensor has just started it, and it has said nothing yet
            pid, since = wish.pid, wish.began
        _want(configuration, pid, since)  # first: whoever is interrupted here leaves a process that `stop` finds
        try:
            health = _first_words(configuration, pid, since)
        except TradingError:
            if wish is not None and not lives(pid, since=since):
                write_wish(configuration, wish)
            elif wish is None and not lives(pid, since=since):
                configuration.wish_file.unlink()
            raise
    return f"started: {_summary(health)}; its log is {configuration.trader_log}"


def stop(configuration: Configuration) -> str:
    """Ask the running trader to stop and wait until it has; it is not wanted any more -> what came of it.

    Raises:
        TradingError: it is still there after four minutes, or a process that cannot be found holds the account.
    """
    with one_hand(configuration):
        running, wish = running_trader(configuration), read_wish(configuration)
        found = {running.pid} if running is not None else set[int]()
        if wish is not None:
            write_wish(configuration, wish.model_copy(update={"wanted": False, "asked": _now(configuration)}))
            found |= {wish.pid} if wish.lives else set()  # it was restarted and has not said a word yet
        for pid in found:
            _end(pid)
    health = read_health(configuration.health_file)
    if not found and is_held(configuration.ledger_file):
        named = "" if health is None else f"; {configuration.health_file} names process {health.pid}"
        raise TradingError(f"{HELD}{named}.")
    if not found:
        return "no trader runs"
    return f"stopped: {_summary(health)}" if health is not None else "stopped"


def _first_words(configuration: Configuration, pid: int, since: datetime) -> Health:
    log, deadline = configuration.trader_log, time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        health = read_health(configuration.health_file)
        if health is not None and health.pid == pid:
            return health
        if not lives(pid, since=since):
            said = log.read_text(errors="replace").strip().splitlines()
            last = said[-1].removeprefix("cappuccino: ") if said else "it said nothing"
            raise TradingError(f"the trader ended at once: {last} (see {log}).")
        time.sleep(0.2)
    raise TradingError(f"the trader, process {pid}, has said nothing for {START_TIMEOUT_S:.0f} s; see {log}.")


def _end(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            raise TradingError(
                f"process {pid} has not stopped within {STOP_TIMEOUT_S:.0f} s; end it by hand: the next start "
                "settles what it left."
            ) from None


def _want(configuration: Configuration, pid: int, since: datetime) -> None:
    write_wish(configuration, Wish(wanted=True, asked=_now(configuration), pid=pid, began=since))


def _now(configuration: Configuration) -> datetime:
    return Cappuccino(configuration).clock.now()


def status(configuration: Configuration) -> list[str]:
    """One line per fact, then what is wrong."""
    cappuccino = Cappuccino(configuration)
    health = read_health(configuration.health_file)
    wrong = problems(cappuccino) or ["nothing"]
    if health is None:
        never = "the trader has never run on this account"
        if configuration.files_folder is not None:
            never += f"; {REPLAYED}"
        return [never, f"to look at: {'; '.join(wrong)}"]
    age = cappuccino.clock.now() - health.heartbeat
    facts = {
        "state": f"{health.state}{f' ({health.why})' if health.why else ''}",
        "process": f"{health.pid}, {'alive' if running_trader(configuration) else 'gone'}",
        "wanted": wanted_words(configuration),
        "account": f"{health.broker}, {health.market}",
        "model": f"version {health.model_version} ({health.model_arm})" if health.model_version else "none",
        "last bar": f"closed {health.bar_decided:%Y-%m-%d %H:%M} UTC" if health.bar_decided else "none",
        "equity": "none yet" if health.equity is None else f"{health.equity:,.2f}, drawdown {health.drawdown or 0:.2%}",
        "uptime": f"{timedelta(seconds=round(health.uptime_s))}, {health.bars_traded} bars, {health.errors} errors",
        "heartbeat": f"{age.total_seconds():.0f} s ago",
        "last error": health.last_error or "none",
        "to look at": "; ".join(wrong),
    }
    return [f"{name}: {fact}" for name, fact in facts.items()]


def problems(cappuccino: Cappuccino) -> list[str]:
    """What is wrong with the trader, one sentence each."""
    configuration = cappuccino.configuration
    try:
        return trouble(configuration) + health_problems(
            read_health(configuration.health_file),
            deployment=read_deployment(configuration.deployment_record),
            wanted_version=cappuccino.wanted_version(),
            now=cappuccino.clock.now(),
            by_clock=configuration.files_folder is None,
        )
    except CappuccinoError as error:
        return [str(error)]


def restrict(configuration: Configuration, *, entries_only: bool, who: str, why: str) -> str:
    """Let the account's trader only sell, or do nothing, from its next start on, in a person's name.

    Raises:
        TradingError: a trader holds the ledger, or name or reason is empty.
    """
    make_folder(configuration.account_root)
    with Ledger(configuration.ledger_file) as ledger:
        ledger.verify()
        restrict_ledger(ledger, entries_only=entries_only, who=who, why=why, at=Cappuccino(configuration).clock.now())
    what = "REDUCING: the next start only sells" if entries_only else "HALTED: the next start sends nothing"
    return f"{what}, until a person releases it"


def release(configuration: Configuration, *, who: str, why: str) -> str:
    """Lift every latch of the account, in a person's name.

    Raises:
        TradingError: a trader holds the ledger, or name or reason is empty.
    """
    if not configuration.ledger_file.exists():
        return "there is no ledger yet, so nothing is halted"
    with Ledger(configuration.ledger_file) as ledger:
        ledger.verify()
        release_ledger(ledger, who=who, why=why, at=_now(configuration))
    return "released; the next start takes the broker's book as it is"


def broker_of(cappuccino: Cappuccino, model: TradingModel) -> Broker:
    """The configured account; a new simulated one has the costs of the first model that trades on it."""
    configuration, clock = cappuccino.configuration, cappuccino.clock
    if configuration.broker == "alpaca":
        assert configuration.alpaca_key is not None
        assert configuration.alpaca_secret is not None
        return AlpacaBroker(key=configuration.alpaca_key, secret=configuration.alpaca_secret, clock=clock)
    return StoredBroker(
        configuration.account_root / "account.json",
        symbols=configuration.universe.symbols,
        cash=CAPITAL,
        costs=model.costs,
        quotes=SourceQuotes(cappuccino.live_source, configuration.universe, now=clock.now),
        clock=clock,
    )


def _history(cappuccino: Cappuccino, since: datetime) -> pd.DataFrame:
    try:
        return read_bars(cappuccino.bars, start=since)
    except DataError:  # nothing stored yet, or only older months: the source is asked for all of it
        return empty_bars()


def _summary(health: Health) -> str:
    model = f"version {health.model_version}" if health.model_version else "no model"
    return f"process {health.pid}, {health.state}{f' ({health.why})' if health.why else ''}, {model}"
