"""A trader started by a real run of a real daemon outlives run and daemon, is restarted by the sensor, and stops."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.trading import Health, read_health, read_ledger
from cappuccino_pipeline import trader
from cappuccino_pipeline.configuration import REPOSITORY, Configuration
from cappuccino_pipeline.doctor import report as doctor
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.sensors import watch_trader
from cappuccino_pipeline.supervision import environment_of, read_wish, running_trader

from .test_trader import deploy

PATIENCE_S = 400.0  # the sensor looks every minute, and a run is a process of its own
LAUNCH = """
mutation ($given: ExecutionParams!) {
  launchPipelineExecution(executionParams: $given) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
STATUS = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


def wait_for(seen: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := seen()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(0.5)
    return found


@pytest.fixture
def configuration(tmp_path: Path) -> Iterator[Configuration]:
    configuration = Configuration(state=tmp_path / "state", universe=Universe(tickers=("BTC", "ETH", "LTC")))
    deploy(configuration)
    yield configuration
    trader.stop(configuration)


class Page:
    """`cappuccino ui` as a process, and Dagster's interface at its address."""

    def __init__(self, configuration: Configuration) -> None:
        command = [sys.executable, "-m", "cappuccino_pipeline", "ui", "--dagster-port", "0", "--mlflow-port", "0"]
        environment = os.environ | environment_of(configuration)
        self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        lines = list(iter(self.process.stdout.readline, "Ctrl-C stops both.\n"))
        self.url = next(line.split()[1] for line in lines if line.startswith("Dagster"))

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def materialize(self, wish: str) -> str:
        """`paper_trader` by a queued run -> how it ended."""
        where = {"repositoryLocationName": "cappuccino", "repositoryName": "__repository__"}
        what = {"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": ["paper_trader"]}]}
        settings = {"ops": {"paper_trader": {"config": {"wish": wish}}}}
        launched = self.ask(LAUNCH, given={"selector": where | what, "runConfigData": settings, "mode": "default"})
        run = launched["launchPipelineExecution"]["run"]["runId"]

        def ended() -> str:
            status = str(self.ask(STATUS, run=run)["runOrError"]["status"])
            return status if status in ("SUCCESS", "FAILURE", "CANCELED") else ""

        return str(wait_for(ended, f"the run {run}"))

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=120)


@pytest.fixture
def page(configuration: Configuration) -> Iterator[Page]:
    page = Page(configuration)
    yield page
    if page.process.poll() is None:
        page.end()


def active(configuration: Configuration) -> Health | None:
    health = running_trader(configuration)
    return health if health is not None and health.state == "ACTIVE" else None


def require_on_its_own(configuration: Configuration, health: Health) -> None:
    """A session of its own, and nothing of the run held open."""
    assert os.getsid(health.pid) == health.pid
    files = {int(file.name): os.readlink(file) for file in Path(f"/proc/{health.pid}/fd").iterdir()}
    assert [files[0], files[1], files[2]] == ["/dev/null", *[str(configuration.trader_log)] * 2]
    assert not [name for name in files.values() if name.startswith("pipe:")]


@pytest.mark.slow
def test_p12_a_trader_started_by_a_run_outlives_it_is_restarted_by_the_sensor_and_stopped(
    configuration: Configuration,
) -> None:
    home = configuration.dagster_home
    home.mkdir()
    settings = json.dumps({"ops": {"paper_trader": {"config": {"wish": "START"}}}})
    command = ["-m", "dagster", "asset", "materialize", "-m", "cappuccino_pipeline.definitions"]
    # Its output is read to the end: were the pipes inherited by the trader, this would wait for the trader's end.
    run = subprocess.run(
        [sys.executable, *command, "--select", "paper_trader", "--config-json", settings],
        cwd=REPOSITORY,
        env=os.environ | environment_of(configuration) | {"DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 0, run.stderr
    first = wait_for(lambda: active(configuration), "an active trader")
    require_on_its_own(configuration, first)
    assert f"ACTIVE, process {first.pid}" in "\n".join(doctor(configuration))
    assert f"process: {first.pid}, alive" in trader.status(configuration)
    assert trader.start(configuration).startswith("a trader runs already")

    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: running_trader(configuration) is None, "its end")
    assert f"its process {first.pid} is GONE" in "\n".join(doctor(configuration))
    watch_trader(dg.build_sensor_context(resources={"cappuccino": Cappuccino(configuration)}))
    second = wait_for(lambda: active(configuration), "another in its place")
    assert second.pid != first.pid
    require_on_its_own(configuration, second)
    assert "STOPPED (asked to stop)" in trader.stop(configuration)
    assert read_ledger(configuration.ledger_file)[-1].kind == "stopped"


@pytest.mark.slow
def test_p12_a_trader_started_by_the_daemons_run_outlives_run_and_daemon_and_is_restarted_by_the_daemon(
    page: Page, configuration: Configuration
) -> None:
    assert page.materialize("START") == "SUCCESS"
    first = wait_for(lambda: active(configuration), "an active trader")
    require_on_its_own(configuration, first)
    assert f"ACTIVE, process {first.pid}" in "\n".join(doctor(configuration))
    assert f"process: {first.pid}, alive" in trader.status(configuration)

    os.kill(first.pid, signal.SIGKILL)
    second = wait_for(
        lambda: (found := active(configuration)) and found.pid != first.pid and found, "another in its place"
    )
    wish = read_wish(configuration)
    assert wish is not None
    assert (wish.pid, len(wish.restarts)) == (second.pid, 1)
    assert f"process {second.pid} was started in its place" in configuration.alerts_file.read_text()

    page.end()
    assert active(configuration) is not None, "it outlives Dagster too"
    assert "STOPPED (asked to stop)" in trader.stop(configuration)
    stopped = read_health(configuration.health_file)
    assert stopped is not None
    assert stopped.pid == second.pid
    assert read_ledger(configuration.ledger_file)[-1].kind == "stopped"
