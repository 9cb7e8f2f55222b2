"""Traders in real processes: one at a time, stopped in the middle of an order, and silent about their keys."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from lookalikes import server
from lookalikes.alpaca import AlpacaLookAlike
from lookalikes.alpaca_paper import Asset, PaperLookAlike
from lookalikes.server import Fault, Market
from pydantic import SecretStr

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.registry import ModelCard
from cappuccino_ml.trading import Ledger, Status, TradingState, read_health
from cappuccino_pipeline import trader
from cappuccino_pipeline.assets.trader import paper_trader, trader_is_healthy
from cappuccino_pipeline.assets.trading import paper_trader_deployment
from cappuccino_pipeline.configuration import REPOSITORY, Configuration
from cappuccino_pipeline.dagster_home import open_instance
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.supervision import environment_of, running_trader

from .test_trader import deploy
from .trader_child import CLOSE, now_at

KEYS = ("PKCANARYKEY0123456789", "canary+secret/0123456789==")
HOOK = "canary-hook-0123456789"


class Terminator(PaperLookAlike):
    """Sends SIGTERM to the process that posts an order, while the order is on the way."""

    victim: subprocess.Popen[str] | None = None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST" and self.victim is not None:
            self.victim.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        super()._serve(handler)


@pytest.fixture
def venues() -> Iterator[tuple[Terminator, AlpacaLookAlike, datetime]]:
    """The paper account and the bars, at ten seconds after the close, and since when."""
    since = datetime.now(UTC)
    market = Market(now=now_at(since), first=CLOSE - timedelta(days=60))
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.1):
            market.now = now_at(since)

    threading.Thread(target=tick, daemon=True).start()
    assets = [Asset(f"{ticker}/USD", Decimal(100)) for ticker in ("BTC", "ETH")]
    with (
        Terminator(market, assets=assets, cash=Decimal(100_000), keys=KEYS) as account,
        AlpacaLookAlike(market, keys=KEYS) as bars,
    ):
        yield account, bars, since
    over.set()


ECHO = Fault("403", status=403, body=json.dumps({"code": 40310000, "message": "no, " + " ".join(KEYS)}).encode())


def leaks(folder: Path) -> list[str]:
    """Files that hold a canary, as it is, quoted, in base64 or as HTTP's basic authentication would write it."""
    spellings = [base64.b64encode(":".join(KEYS).encode())]
    for canary in (*KEYS, HOOK):
        spellings += [canary.encode(), quote(canary, safe="").encode(), base64.b64encode(canary.encode())]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(spelling in path.read_bytes() for spelling in spellings)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [None, server.SILENCE, ECHO], ids=["answered", "the answer never comes", "refused with the keys in it"]
)
def test_p9_p12_fault_30_sigterm_in_the_middle_of_an_order_and_no_canary_anywhere(
    tmp_path: Path, venues: tuple[Terminator, AlpacaLookAlike, datetime], fault: Fault | None
) -> None:
    account, bars, since = venues
    configuration = Configuration(
        state=tmp_path / "state",
        source="alpaca",
        since=CLOSE - timedelta(days=60),
        url=bars.url,
        universe=Universe(tickers=("BTC", "ETH")),
        broker="alpaca",
        alpaca_key=SecretStr(KEYS[0]),
        alpaca_secret=SecretStr(KEYS[1]),
        alert_url=SecretStr(f"http://127.0.0.1:9/{HOOK}"),
    )
    cappuccino = Cappuccino(configuration)
    deploy(configuration)
    version = cappuccino.registry.register(configuration.models_root / "1", card=card())
    cappuccino.registry.set_alias("challenger", version, who="a person", why="test")
    resources = {"cappuccino": cappuccino}
    account.play_posts(fault)
    environment = environment_of(configuration) | {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with (tmp_path / "output").open("w") as output:
        account.victim = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.trader_child", account.url, since.isoformat()],
            cwd=REPOSITORY,
            env=environment,
            stdout=output,
            stderr=output,
            text=True,
        )
        assert account.victim.wait(timeout=180) == 0, (tmp_path / "output").read_text()
    assert len(account.posts()) == 1
    health = read_health(configuration.health_file)
    assert health is not None
    assert health.state == "STOPPED"
    with Ledger(configuration.ledger_file) as ledger:
        ledger.verify()
        assert [row.kind for row in ledger.rows()][-1] == "stopped"
        state = TradingState.replay(ledger.rows())
    (tracked,) = state.orders.values()
    assert tracked.status == (Status.FILLED if fault is None else Status.DENIED if fault is ECHO else Status.ABANDONED)
    assert state.positions == {name.replace("/", "-"): units for name, units in account.units.items()}

    with open_instance(configuration.dagster_home) as instance:
        shown = dg.materialize(
            [paper_trader_deployment, paper_trader, trader_is_healthy],
            selection="paper_trader",
            resources=resources,
            instance=instance,
            run_config={"ops": {"paper_trader": {"config": {"wish": "SHOW"}}}},
        )
    assert shown.success
    (evaluation,) = shown.get_asset_check_evaluations()
    assert not evaluation.passed, "it was stopped"
    assert configuration.mlflow_database.stat().st_size > 100_000
    assert any((configuration.dagster_home / "history").rglob("*.db"))
    assert {request.headers.get("apca-api-key-id") for request in account.requests} == {KEYS[0]}
    assert leaks(tmp_path) == []
    del os.environ["DAGSTER_HOME"]


def card() -> ModelCard:
    return ModelCard.model_validate(
        {
            "key": "toy",
            "arm": "mlp",
            "study_key": "study-1",
            "outcome": "win",
            "verdict": {},
            "schema_hash": "5c",
            "data_manifest": "da7a",
            "dagster_run_id": "run-1",
            "source_label": "simulated",
            "metrics": {},
            "params": {},
        }
    )


@pytest.mark.slow
def test_p12_fault_08_the_asset_starts_one_trader_that_outlives_its_run_and_a_stop_is_clean(tmp_path: Path) -> None:
    configuration = Configuration(state=tmp_path, universe=Universe(tickers=("BTC", "ETH", "LTC")))
    deploy(configuration)
    started = subprocess.run(
        [sys.executable, "-m", "cappuccino_pipeline", "trade", "start"],
        env=environment_of(configuration) | {"PATH": "/usr/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
        timeout=180,
    )
    assert started.returncode == 0, started.stderr
    assert started.stdout.startswith("started")
    running = running_trader(configuration)
    assert running is not None
    try:
        resources = {"cappuccino": Cappuccino(configuration)}
        config = {"ops": {"paper_trader": {"config": {"wish": "START"}}}}
        result = dg.materialize([paper_trader], resources=resources, run_config=config)
        assert "runs already" in str(result.asset_materializations_for_node("paper_trader")[0].metadata["did"].value)
        second = subprocess.run(
            [sys.executable, "-m", "cappuccino_pipeline", "trade"],
            env=environment_of(configuration) | {"PATH": "/usr/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            check=False,
            timeout=180,
        )
        assert second.returncode == 1
        assert "another trader holds" in second.stderr
        deadline = time.monotonic() + 120
        while (health := read_health(configuration.health_file)) is not None and health.state == "STARTING":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert health is not None
        assert health.state == "ACTIVE"
        assert health.pid == running.pid
    finally:
        stopped = trader.stop(configuration)
    assert "STOPPED (asked to stop)" in stopped
    with Ledger(configuration.ledger_file) as ledger:
        ledger.verify()
        assert [row.kind for row in ledger.rows()][-1] == "stopped"


def test_the_search_for_canaries_finds_them_in_every_spelling(tmp_path: Path) -> None:
    for number, spelling in enumerate([KEYS[1], quote(KEYS[1], safe=""), base64.b64encode(HOOK.encode()).decode()]):
        (tmp_path / f"{number}.db").write_bytes(b"\x00binary " + spelling.encode() + b" more")
    (tmp_path / "clean").write_text("nothing")
    assert len(leaks(tmp_path)) == 3
