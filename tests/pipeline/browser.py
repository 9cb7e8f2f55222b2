"""A real Chromium at the real pages of `cappuccino ui`, for tests of what a person sees and clicks.

Needs the extra `browser` (playwright, without a browser of its own) and a Chromium on the path; tests are skipped
without either.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cappuccino_ml.trading import Deployment, read_deployment
from cappuccino_pipeline.configuration import REPOSITORY

from .promotion_desk import UNIVERSE, Desk

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 240.0  # the sensor looks every 30 s, and a run starts a process of its own
MARKS = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")]


@contextmanager
def served(desk: Desk) -> Iterator[dict[str, str]]:
    """The real `cappuccino ui` on the desk's state -> addresses of `Dagster` and `MLflow`."""
    command = [sys.executable, "-m", "cappuccino_pipeline", "ui", "--dagster-port", "0", "--mlflow-port", "0"]
    settings = {
        "CAPPUCCINO_STATE": str(desk.cappuccino.configuration.state),
        "CAPPUCCINO_TICKERS": ",".join(UNIVERSE.tickers),
    }
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = list(iter(process.stdout.readline, "Ctrl-C stops both.\n")) if process.poll() is None else []
        yield dict(line.split() for line in lines if line.startswith(("Dagster ", "MLflow ")))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


@contextmanager
def chromium() -> Iterator[Any]:
    """An empty page of a browser that remembers nothing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(1000 * PATIENCE_S)
        yield page
        browser.close()


@dataclass
class Person:
    """Somebody at MLflow's page of one registered model."""

    page: Any
    address: str
    model: str
    album: Path

    def give(self, alias: str, *, to: str) -> None:
        """The version's page, "Add" or the pencil beside Aliases, type, Save aliases."""
        dialog = self._open_aliases(to)
        dialog.get_by_role("combobox").fill(alias)
        self.page.keyboard.press("Enter")
        self._save(dialog, f"{alias} to version {to}")
        assert alias in self._aliases()

    def take(self, alias: str, *, version: str) -> None:
        """The version's page, the pencil, the cross on the alias, Save aliases."""
        dialog = self._open_aliases(version)
        dialog.locator(f"[title='{alias}']").get_by_role("button").click()
        self._save(dialog, f"{alias} from version {version}")
        assert alias not in self._aliases()

    def _open_aliases(self, version: str) -> Any:
        self.page.goto(f"{self.address}/#/models/{self.model}/versions/{version}")
        self.page.reload()  # the hash alone would show what was read before
        self.page.locator("button[data-component-id*='aliaseditor']").first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("combobox").wait_for()
        return dialog

    def _save(self, dialog: Any, what: str) -> None:
        number = len(list(self.album.glob("*.png"))) // 2 + 1
        self.page.screenshot(path=self.album / f"{number} {what}, before.png")
        dialog.get_by_role("button", name="Save aliases").click()
        dialog.wait_for(state="hidden")
        self.page.reload()
        self.page.locator("button[data-component-id*='aliaseditor']").first.wait_for()
        self.page.screenshot(path=self.album / f"{number} {what}, saved.png")

    def _aliases(self) -> str:
        """What the page shows beside Aliases."""
        shown = self.page.locator("[data-component-id*='modelversionaliastag'][title]")
        return " ".join(one.get_attribute("title") for one in shown.all())


def wait_for(seen: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(0.5)


def wait_for_deployment(record: Path, *, version: str, alias: str) -> Deployment:
    def deployed() -> bool:
        made = read_deployment(record)
        return made is not None and (made.version, made.alias) == (version, alias)

    wait_for(deployed, f"version {version} as {alias}")
    found = read_deployment(record)
    assert found is not None
    return found
