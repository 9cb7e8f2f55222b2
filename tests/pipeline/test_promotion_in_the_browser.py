"""A person promotes and rolls back in MLflow's own page, in a real browser; the running sensor deploys what was said.

Needs playwright (`pip install playwright`, no browser download) and a Chromium on the path; skipped without either.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cappuccino_ml.trading import Deployment, read_deployment
from cappuccino_pipeline.configuration import REPOSITORY
from cappuccino_pipeline.dagster_home import open_instance

from .promotion_desk import UNIVERSE, Desk, open_desk

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 240.0  # the sensor looks every 30 s, and a run starts a process of its own

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_instance(tmp_path / "state" / "dagster") as instance:
        yield open_desk(tmp_path, instance)
    os.environ.pop("DAGSTER_HOME", None)


@pytest.fixture
def mlflow_page(desk: Desk) -> Iterator[str]:
    """The real `cappuccino ui` on the desk's state -> the address of MLflow's page."""
    tickers = ",".join(UNIVERSE.tickers)
    state = str(desk.cappuccino.configuration.state)
    command = [sys.executable, "-m", "cappuccino_pipeline", "ui", "--dagster-port", "0", "--mlflow-port", "0"]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "CAPPUCCINO_STATE": state, "CAPPUCCINO_TICKERS": tickers},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = list(iter(process.stdout.readline, "Ctrl-C stops both.\n")) if process.poll() is None else []
        yield next(line.split()[1] for line in lines if line.startswith("MLflow"))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


@pytest.fixture
def page() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1400, "height": 900})
        browser.close()


def give_alias(page: Any, address: str, *, model: str, version: str, alias: str) -> None:
    """What a person does: the version's page, Add or the pencil beside Aliases, type, Save aliases."""
    page.goto(f"{address}/#/models/{model}/versions/{version}")
    page.locator("button[data-component-id*='aliaseditor']").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill(alias)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save aliases").click()
    dialog.wait_for(state="hidden")


def wait_for_deployment(record: Path, version: str) -> Deployment:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        made = read_deployment(record)
        if made is not None and made.version == version:
            return made
        time.sleep(0.5)
    raise AssertionError(f"version {version} was not deployed within {PATIENCE_S:g} s; it is {read_deployment(record)}")


def test_a_promotion_and_a_rollback_by_hand_are_deployed(page: Any, desk: Desk, mlflow_page: str) -> None:
    configuration = desk.cappuccino.configuration
    model, record = f"cappuccino-{configuration.market}", configuration.deployment_record
    before = []
    for version in ("1", "2", "1"):  # set, moved, rolled back
        give_alias(page, mlflow_page, model=model, version=version, alias="champion")
        made = wait_for_deployment(record, version)
        assert made.alias == "champion"
        assert made.who.startswith("dagster run")
        assert len(made.checks) == 4
        before.append(made.previous)
    assert before == [None, "1", "2"]
    assert desk.cappuccino.aliases() == {"champion": "1"}
