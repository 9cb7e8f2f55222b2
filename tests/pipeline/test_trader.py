"""The trader as a process, looked after by commands, an asset, a check and a sensor."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ConfigurationError, ManualClock, TradingError, write_json
from cappuccino_ml.trading import Deployment, Health, Ledger, TradingState, restrict
from cappuccino_pipeline import trader
from cappuccino_pipeline.assets.trader import trader_is_healthy
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.sensors import request_deployment, watch_trader
from cappuccino_pipeline.supervision import environment_of, running_trader
from tests.trading.agents import store_agent

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def cappuccino(tmp_path: Path) -> Cappuccino:
    configuration = Configuration(state=tmp_path, universe=Universe(tickers=("BTC", "ETH", "LTC")))
    return Cappuccino(configuration, clock=ManualClock(NOW))


def deploy(configuration: Configuration, version: str = "1") -> None:
    folder = configuration.models_root / version
    made = store_agent(folder, "mlp", universe=configuration.universe)
    record = Deployment(
        version=version,
        alias="challenger",
        key=made.key,
        arm="mlp",
        schema_hash=made.feature_schema.hash,
        folder=str(folder),
        previous=None,
        who="a test",
        when=NOW,
        why="a test",
    )
    write_json(configuration.deployment_record, record)


def say(cappuccino: Cappuccino, **facts: object) -> None:
    known = {"state": "ACTIVE", "pid": 2**22 + 1, "market": "toy", "broker": "simulated", "model_version": "1"}
    health = Health.model_validate({**known, "started": NOW, "heartbeat": NOW, **facts})
    health.write(cappuccino.configuration.health_file)


@pytest.fixture
def challenger(cappuccino: Cappuccino, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cappuccino, "aliases", lambda: {"challenger": "1"})


@pytest.mark.usefixtures("challenger")
@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({}, None),
        ({"heartbeat": NOW - timedelta(minutes=6)}, "heartbeat"),
        ({"state": "HALTED", "why": "our book says 1 BTC-USD, the broker 0"}, "our book says"),
        ({"model_version": "0"}, "but 0 trades"),
    ],
)
def test_the_check_passes_or_names_what_is_wrong(
    cappuccino: Cappuccino, facts: dict[str, object], word: str | None
) -> None:
    deploy(cappuccino.configuration)
    say(cappuccino, **facts)
    result = trader_is_healthy(cappuccino)
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed == (word is None)
    assert (word or "none") in str(result.metadata["findings"].value)


def test_alias_and_deployment_that_differ_fail_the_check(
    cappuccino: Cappuccino, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(cappuccino.configuration)
    say(cappuccino)
    monkeypatch.setattr(cappuccino, "aliases", lambda: {"challenger": "2", "champion": "1"})
    result = trader_is_healthy(cappuccino)
    assert isinstance(result, dg.AssetCheckResult)
    assert not result.passed


@pytest.mark.usefixtures("challenger")
def test_fault_07_a_dead_trader_is_told_once_by_the_second_look_and_the_same_tick_twice_tells_nothing_more(
    cappuccino: Cappuccino,
) -> None:
    deploy(cappuccino.configuration)
    say(cappuccino, heartbeat=NOW - timedelta(minutes=6))

    def look(cursor: str | None) -> str | None:
        result = watch_trader(dg.build_sensor_context(cursor=cursor, resources={"cappuccino": cappuccino}))
        assert isinstance(result, dg.SensorResult)
        return result.cursor

    def alerts() -> list[str]:
        file = cappuccino.configuration.alerts_file
        return [json.loads(line)["reason"] for line in file.read_text().splitlines()] if file.exists() else []

    first = look(None)
    assert alerts() == []
    second = look(first)
    assert len(alerts()) == 1
    assert "heartbeat" in alerts()[0]
    cappuccino.clock.set(NOW + timedelta(minutes=1))  # type: ignore[attr-defined]  # the age in the sentence is another
    look(look(second))
    assert len(alerts()) == 1
    say(cappuccino, heartbeat=NOW + timedelta(minutes=1))
    calm = look(second)
    say(cappuccino, heartbeat=NOW - timedelta(hours=1))
    look(look(calm))
    assert len(alerts()) == 2


def test_status_of_what_never_ran_is_no_crash(cappuccino: Cappuccino) -> None:
    assert "never run" in trader.status(cappuccino.configuration)[0]
    assert trader.stop(cappuccino.configuration) == "no trader runs"


def test_another_process_with_the_old_number_is_not_taken_for_the_trader(cappuccino: Cappuccino) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        say(cappuccino, pid=child.pid, started=NOW - timedelta(days=400))
        assert running_trader(cappuccino.configuration) is None
        say(cappuccino, pid=child.pid, started=datetime.now(UTC))
        assert running_trader(cappuccino.configuration) is not None
    finally:
        child.communicate(b"\n")
    assert running_trader(cappuccino.configuration) is None


def test_a_halt_is_lifted_by_a_person_with_a_reason_and_nobody_else(cappuccino: Cappuccino) -> None:
    configuration = cappuccino.configuration
    assert "nothing is halted" in trader.release(configuration, who="Ada", why="looked")
    with Ledger(configuration.ledger_file) as ledger:
        restrict(ledger, entries_only=False, who="Ada", why="a drill", at=NOW)
        with pytest.raises(TradingError, match="another trader holds"):
            trader.release(configuration, who="Ada", why="looked")
    with pytest.raises(TradingError, match="name and the reason"):
        trader.release(configuration, who=" ", why="looked")
    assert "released" in trader.release(configuration, who="Ada", why="looked")
    with Ledger(configuration.ledger_file) as ledger:
        assert [row.kind for row in ledger.rows()] == ["halt", "release"]


def test_a_person_restricts_a_stopped_trader_to_exits_or_to_nothing_with_a_name_and_a_reason(
    cappuccino: Cappuccino,
) -> None:
    configuration = cappuccino.configuration
    said = trader.restrict(configuration, entries_only=True, who="Ada", why="a look at it")  # a new account, too
    assert said.startswith("REDUCING")
    with Ledger(configuration.ledger_file) as ledger:
        assert TradingState.replay(ledger.rows()).reducing == "Ada: a look at it"
        with pytest.raises(TradingError, match="another trader holds"):
            trader.restrict(configuration, entries_only=True, who="Ada", why="once more")
    with pytest.raises(TradingError, match="name and the reason"):
        trader.restrict(configuration, entries_only=False, who="Ada", why=" ")
    assert trader.restrict(configuration, entries_only=False, who="Bo", why="all of it").startswith("HALTED")
    trader.release(configuration, who="Ada", why="looked")
    with Ledger(configuration.ledger_file) as ledger:
        assert [row.kind for row in ledger.rows()] == ["reduce", "halt", "release"]
        assert TradingState.replay(ledger.rows()).reducing == ""


def test_the_environment_of_a_trader_apart_reads_back_as_the_same_configuration(tmp_path: Path) -> None:
    given = {
        "CAPPUCCINO_STATE": str(tmp_path),
        "CAPPUCCINO_SOURCE": "alpaca",
        "CAPPUCCINO_SINCE": "2024-02-01",
        "CAPPUCCINO_BROKER": "alpaca",
        "CAPPUCCINO_TICKERS": "ETH,BTC",
        "CAPPUCCINO_SEED": "11",
        "CAPPUCCINO_ALERT_URL": "https://hooks.example/secret",
        "APCA_API_KEY_ID": "PKTEST",
        "APCA_API_SECRET_KEY": "hush",
    }
    configuration = Configuration.read(given)
    again = Configuration.read(environment_of(configuration))
    assert again.model_copy(update={"workers": configuration.workers}) == configuration
    assert again.alpaca_secret is not None
    assert again.alpaca_secret.get_secret_value() == "hush"
    assert "hush" not in repr(again)
    assert "secret" not in repr(again.alert_url)


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"CAPPUCCINO_BROKER": "binance"}, "simulated, alpaca"),
        ({"CAPPUCCINO_BROKER": "alpaca"}, "APCA_API_KEY_ID"),
        (
            {
                "CAPPUCCINO_BROKER": "alpaca",
                "CAPPUCCINO_QUOTE": "eur",
                "APCA_API_KEY_ID": "a",
                "APCA_API_SECRET_KEY": "b",
            },
            "in USD",
        ),
    ],
)
def test_a_broker_that_cannot_be_is_refused(tmp_path: Path, variables: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Configuration.read({"CAPPUCCINO_STATE": str(tmp_path), **variables})


def test_fault_07_p1_the_same_sensor_tick_twice_asks_for_one_run() -> None:
    aliases = {"challenger": "2"}
    first, again = (request_deployment(cursor=None, aliases=aliases) for _ in range(2))  # the cursor was lost
    assert [request.run_key for request in first.run_requests or []] == ["aliases-1-challenger-v2"]
    assert [request.run_key for request in again.run_requests or []] == ["aliases-1-challenger-v2"]
    assert not request_deployment(cursor=first.cursor, aliases=aliases).run_requests
