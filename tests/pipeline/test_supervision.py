"""A trader that is wanted and has died is started again, within limits, and never past what a person has to remove."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psutil
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ConfigurationError, ManualClock, TradingError
from cappuccino_ml.trading import Health, Ledger, restrict
from cappuccino_pipeline import supervision, trader
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.sensors import watch_trader
from cappuccino_pipeline.supervision import Wish, keep_running, one_hand, read_wish, trouble, write_wish

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
DIES = (sys.executable, "-c", "raise SystemExit(1)")


@pytest.fixture(autouse=True)
def children_heed_term() -> Iterator[None]:
    """Children inherit an ignored TERM, and Dagster ignores it here where this suite was started with INT ignored."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def cappuccino(tmp_path: Path) -> Iterator[Cappuccino]:
    clock = ManualClock(datetime.now(UTC))
    yield Cappuccino(Configuration(state=tmp_path, universe=Universe(tickers=("BTC", "ETH"))), clock=clock)
    for process in supervision._started:
        process.kill()
        process.wait()
    supervision._started.clear()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[str, ...]], None]:
    """What is run instead of the real trader."""
    return lambda command: monkeypatch.setattr(supervision, "COMMAND", command)


def later(cappuccino: Cappuccino, **span: float) -> None:
    cappuccino.clock.set(cappuccino.clock.now() + timedelta(**span))  # type: ignore[attr-defined]


def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def want(cappuccino: Cappuccino) -> None:
    now = cappuccino.clock.now()
    write_wish(cappuccino.configuration, Wish(wanted=True, asked=now, pid=dead(), began=now))


def wait_for_end(cappuccino: Cappuccino) -> None:
    wish = read_wish(cappuccino.configuration)
    assert wish is not None
    with suppress(psutil.NoSuchProcess):
        psutil.Process(wish.pid).wait(timeout=60)


def look(cappuccino: Cappuccino, cursor: str | None = None) -> str | None:
    """One tick of the real sensor."""
    result = watch_trader(dg.build_sensor_context(cursor=cursor, resources={"cappuccino": cappuccino}))
    assert isinstance(result, dg.SensorResult)
    return result.cursor


def alerts(cappuccino: Cappuccino) -> list[str]:
    file = cappuccino.configuration.alerts_file
    return [json.loads(line)["reason"] for line in file.read_text().splitlines()] if file.exists() else []


def test_a_wanted_trader_that_died_is_started_once_and_told(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(SLEEPS)
    want(cappuccino)
    assert "watch_trader starts it again" in trouble(cappuccino.configuration)[0]
    cursor = look(cappuccino)
    wish = read_wish(cappuccino.configuration)
    assert wish is not None
    assert wish.lives
    assert psutil.Process(wish.pid).cmdline()[1:] == list(SLEEPS[1:])
    assert len(wish.restarts) == 1
    assert trouble(cappuccino.configuration) == []
    look(cappuccino, look(cappuccino, cursor))
    assert read_wish(cappuccino.configuration) == wish
    assert [f"process {wish.pid} was started in its place" in reason for reason in alerts(cappuccino)] == [True]


@pytest.mark.parametrize("asked", ["never", "stopped"])
def test_one_that_nobody_wants_stays_down(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None], asked: str
) -> None:
    runs(SLEEPS)
    now = cappuccino.clock.now()
    said = Health(state="ACTIVE", pid=dead(), market="toy", broker="simulated", started=now, heartbeat=now)
    said.write(cappuccino.configuration.health_file)
    if asked == "stopped":
        want(cappuccino)
        assert trader.stop(cappuccino.configuration) == "no trader runs"
    assert keep_running(cappuccino) == ""
    assert trouble(cappuccino.configuration) == []
    assert supervision._started == []


def test_one_that_lives_is_left_alone_whoever_started_it(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(DIES)
    want(cappuccino)
    in_the_foreground = subprocess.Popen(SLEEPS)
    now = datetime.now(UTC)
    said = Health(
        state="ACTIVE", pid=in_the_foreground.pid, market="toy", broker="simulated", started=now, heartbeat=now
    )
    try:
        said.write(cappuccino.configuration.health_file)
        assert keep_running(cappuccino) == ""
    finally:
        in_the_foreground.kill()
        in_the_foreground.wait()
    assert keep_running(cappuccino)


def test_p7_a_kill_file_a_halt_and_an_altered_ledger_are_never_overridden(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(SLEEPS)
    configuration, now = cappuccino.configuration, cappuccino.clock.now()
    want(cappuccino)
    configuration.kill_file.touch()
    cursor = look(cappuccino)
    assert alerts(cappuccino) == []
    look(cappuccino, cursor)
    assert "not started again while" in alerts(cappuccino)[0]
    configuration.kill_file.unlink()
    with Ledger(configuration.ledger_file) as ledger:
        restrict(ledger, entries_only=False, who="Ada", why="a drill", at=now)
    assert keep_running(cappuccino) == ""
    assert "the account is halted: Ada: a drill" in trouble(configuration)[0]
    trader.release(configuration, who="Ada", why="looked")
    with closing(sqlite3.connect(configuration.ledger_file)) as database:
        database.execute("DROP TRIGGER ledger_no_update")
        database.execute("UPDATE ledger SET payload = '{}' WHERE seq = 1")
        database.commit()
    assert keep_running(cappuccino) == ""
    assert "was altered" in trouble(configuration)[0]
    configuration.ledger_file.unlink()
    assert supervision._started == []
    assert keep_running(cappuccino)


def test_one_that_dies_again_and_again_is_given_up_and_told_until_a_person_starts_it(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(DIES)
    want(cappuccino)
    cursor = None
    for _ in range(6):
        cursor = look(cappuccino, cursor)
        wait_for_end(cappuccino)
        later(cappuccino, minutes=1)
    wish = read_wish(cappuccino.configuration)
    assert wish is not None
    assert len(wish.restarts) == 3
    later(cappuccino, days=3)
    look(cappuccino, look(cappuccino, cursor))
    assert read_wish(cappuccino.configuration) == wish
    told = [reason for reason in alerts(cappuccino) if "not started again, for it was 3 times" in reason]
    assert len(told) == 1
    with pytest.raises(TradingError, match="ended at once"):
        trader.start(cappuccino.configuration)
    assert read_wish(cappuccino.configuration) == wish, "a start that failed changes nothing"
    want(cappuccino)
    assert keep_running(cappuccino)


def test_one_that_dies_now_and_then_is_not_given_up(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(DIES)
    want(cappuccino)
    for _ in range(5):
        assert keep_running(cappuccino)
        wait_for_end(cappuccino)
        later(cappuccino, minutes=31)


def test_a_stop_ends_a_restarted_process_that_has_said_nothing_yet(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(SLEEPS)
    want(cappuccino)
    assert keep_running(cappuccino)
    assert trader.stop(cappuccino.configuration) == "stopped"
    wish = read_wish(cappuccino.configuration)
    assert wish is not None
    assert not wish.lives
    assert keep_running(cappuccino) == ""


def test_a_start_waits_for_a_restarted_process_that_has_said_nothing_yet(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    file = cappuccino.configuration.health_file
    code = (
        "import json, os, time; from datetime import datetime, UTC; time.sleep(0.5);"
        "now = datetime.now(UTC).isoformat();"
        "facts = dict(pid=os.getpid(), market='toy', broker='simulated', started=now, heartbeat=now);"
        f"open({str(file) + '.new'!r}, 'w').write(json.dumps(facts));"
        f"os.rename({str(file) + '.new'!r}, {str(file)!r}); time.sleep(600)"
    )
    runs((sys.executable, "-c", code))
    want(cappuccino)
    assert keep_running(cappuccino)
    assert trader.start(cappuccino.configuration).startswith("started: process")
    assert len(supervision._started) == 1
    wish = read_wish(cappuccino.configuration)
    assert wish is not None
    assert (wish.lives, wish.restarts) == (True, ()), "a person has asked for it anew"


def test_p12_a_stop_ends_what_an_interrupted_start_has_started(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Health:
        raise KeyboardInterrupt

    runs(SLEEPS)
    monkeypatch.setattr(trader, "_first_words", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trader.start(cappuccino.configuration)
    (process,) = supervision._started
    assert trader.stop(cappuccino.configuration) == "stopped"
    assert process.poll() is not None


def test_a_trader_whose_age_seems_wrong_after_a_clock_was_set_gets_no_second_one_and_stop_does_not_say_none_runs(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(SLEEPS)
    want(cappuccino)
    with Ledger(cappuccino.configuration.ledger_file):
        assert keep_running(cappuccino) == ""
        assert "a process holds the ledger" in trouble(cappuccino.configuration)[0]
        with pytest.raises(TradingError, match="a process holds the ledger"):
            trader.stop(cappuccino.configuration)
    assert supervision._started == []


def test_restarts_that_cannot_be_counted_are_not_made_but_told(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    runs(DIES)
    want(cappuccino)
    monkeypatch.setattr(supervision, "write_wish", full)
    cursor = look(cappuccino)
    assert supervision._started == []
    look(cappuccino, cursor)
    assert any("cannot be looked after" in reason for reason in alerts(cappuccino))


def test_nothing_is_restarted_while_a_person_starts_or_stops(
    cappuccino: Cappuccino, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(SLEEPS)
    want(cappuccino)
    with one_hand(cappuccino.configuration):
        assert keep_running(cappuccino) == ""
    assert keep_running(cappuccino)


def test_a_source_without_new_bars_starts_no_process_and_is_never_wanted(
    tmp_path: Path, runs: Callable[[tuple[str, ...]], None]
) -> None:
    runs(SLEEPS)
    configuration = Configuration(
        state=tmp_path, source="files", files_folder=tmp_path, universe=Universe(tickers=("BTC", "ETH"))
    )
    with pytest.raises(ConfigurationError, match="no new bar at each close"):
        trader.start(configuration)
    assert not supervision._started
    assert read_wish(configuration) is None
