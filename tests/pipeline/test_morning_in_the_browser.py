"""A morning at the pages, in a real browser: load bars, look at them, promote, follow a deployment, retrain by night.

Each step leaves a screenshot in the test's folder.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, ScheduleInstigatorData, TickStatus

from cappuccino_pipeline.dagster_home import open_instance

from .browser import MARKS, Person, chromium, served, wait_for, wait_for_deployment
from .promotion_desk import Desk, open_desk

pytestmark = MARKS
REFRESH = "ops:\n  ohlcv_bars:\n    config:\n      refresh: true\n"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_instance(tmp_path / "state" / "dagster") as instance:
        yield open_desk(tmp_path, instance, last_month="2024-06")  # enough for the small budget's splits
    os.environ.pop("DAGSTER_HOME", None)


def test_bars_are_loaded_from_their_page_and_a_deployment_leads_to_its_version(desk: Desk, tmp_path: Path) -> None:
    configuration = desk.cappuccino.configuration
    with chromium() as page, served(desk) as addresses:
        _open_from_the_graph(page, addresses["Dagster"], group="bars", asset="ohlcv_bars")
        page.screenshot(path=tmp_path / "1 from the graph.png")
        _materialize(page, month="2024-07", configured=REFRESH)
        wait_for(lambda: bool(_launched(desk)), "a run of ohlcv_bars")
        run = _launched(desk)[0]
        page.goto(f"{addresses['Dagster']}/runs/{run.run_id}")
        page.get_by_text("Success", exact=True).first.wait_for()
        page.screenshot(path=tmp_path / "2 the run.png")
        page.goto(f"{addresses['Dagster']}/assets/ohlcv_bars")
        width = _open_picture(page, "coverage")
        page.screenshot(path=tmp_path / "3 the picture.png")

        Person(page, addresses["MLflow"], configuration.model_name, tmp_path).give("champion", to="1")
        wait_for_deployment(configuration.deployment_record, version="1", alias="champion")
        page.goto(f"{addresses['Dagster']}/assets/promoted_model")
        page.get_by_role("link", name="paper_trader_deployment").first.click()  # along the lineage
        page.get_by_text("version 1 (mlp) is deployed as champion").wait_for()
        page.screenshot(path=tmp_path / "4 the deployment.png")
        page.get_by_role("link", name="version 1", exact=True).click()
        page.locator("[data-component-id*='modelversionaliastag'][title='champion']").first.wait_for()
        page.screenshot(path=tmp_path / "5 its version.png")
        followed = page.url

    assert run.run_config["ops"] == {"ohlcv_bars": {"config": {"refresh": True}}}
    assert "2024-07" in desk.cappuccino.bars.partitions
    assert width > 500
    assert followed == f"{addresses['MLflow']}/#/models/{configuration.model_name}/versions/1"


def test_nightly_retraining_switched_on_from_the_page_catches_up_a_night_that_the_machine_slept_through(
    desk: Desk, tmp_path: Path
) -> None:
    """Nobody waits for 02:30: the machine is off, the switch is dated back by a day, and the daemon really ticks."""
    with chromium() as page:
        with served(desk) as addresses:
            page.goto(f"{addresses['Dagster']}/automation")
            _switch_on(page, "nightly_retraining")
            wait_for(lambda: bool(_switched_on(desk)), "a schedule that runs")
            page.screenshot(path=tmp_path / "1 switched on.png")
        for state in _switched_on(desk):
            _date_back(desk.instance, state, hours=25)
        with served(desk) as addresses:
            nightly = _tick(desk, "nightly_retraining")
            page.goto(f"{addresses['Dagster']}/locations/cappuccino/schedules/nightly_retraining")
            page.get_by_text("1 run requested").or_(page.get_by_text("1 requested")).first.wait_for()
            page.screenshot(path=tmp_path / "2 ticked.png")
            wait_for(lambda: _run(desk, nightly).is_finished, "the end of the nightly run")

    assert (_run(desk, nightly).job_name, _run(desk, nightly).status) == ("retrain", dg.DagsterRunStatus.SUCCESS)
    assert nightly.status == TickStatus.SUCCESS


def _open_from_the_graph(page: Any, dagster: str, *, group: str, asset: str) -> None:
    page.goto(f"{dagster}/asset-groups")
    page.locator(f"[data-tooltip='{group}']").first.click()  # groups are folded in a browser that remembers nothing
    page.get_by_text(asset, exact=True).last.click()
    page.get_by_role("link", name="View in Asset Catalog").click()
    page.wait_for_url(f"**/assets/{asset}**")


def _materialize(page: Any, *, month: str, configured: str) -> None:
    """The button, one month, the configuration as YAML, Launch."""
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog").first
    dialog.get_by_placeholder("ex: 2024-01").fill(month)
    page.keyboard.press("Tab")
    dialog.get_by_text("Config", exact=True).click()
    dialog.get_by_role("button", name="Add config").click()
    editor = page.locator(".CodeMirror").last
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(configured)
    page.get_by_role("button", name="Save config").click()
    dialog.get_by_role("button", name="Launch 1 run").click()


def _open_picture(page: Any, name: str) -> int:
    """The metadata's link -> width of the picture in pixels."""
    page.locator("tr", has=page.get_by_text(name, exact=True)).get_by_text("[Show Markdown]").click()
    shown = page.get_by_role("dialog").locator("img")
    shown.wait_for()
    return int(shown.evaluate("image => image.decode().then(() => image.naturalWidth)"))


def _switch_on(page: Any, schedule: str) -> None:
    row = page.locator("[data-index]", has=page.locator(f"a[href$='/schedules/{schedule}']"))
    row.locator("label[class*='formatSwitch']").click()


def _launched(desk: Desk) -> list[dg.DagsterRun]:
    """Runs of bars that a person asked for; the desk's own were of a job."""
    return [run for run in desk.instance.get_runs() if dg.AssetKey("ohlcv_bars") in (run.asset_selection or ())]


def _run(desk: Desk, tick: InstigatorTick) -> dg.DagsterRun:
    (run_id,) = tick.run_ids
    run = desk.instance.get_run_by_id(run_id)
    assert run is not None
    return run


def _switched_on(desk: Desk) -> list[InstigatorState]:
    return [state for state in desk.instance.all_instigator_state() if state.status.value == "RUNNING"]


def _date_back(instance: dg.DagsterInstance, state: InstigatorState, *, hours: float) -> None:
    data = state.instigator_data
    assert isinstance(data, ScheduleInstigatorData)
    assert data.start_timestamp is not None
    earlier = ScheduleInstigatorData(data.cron_schedule, start_timestamp=data.start_timestamp - 3600 * hours)
    instance.update_instigator_state(state.with_data(earlier))


def _tick(desk: Desk, schedule: str) -> InstigatorTick:
    """The last tick, once it has ended."""
    (state,) = (state for state in _switched_on(desk) if state.instigator_name == schedule)
    found: list[InstigatorTick] = []

    def ended() -> bool:
        found[:] = desk.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        return bool(found) and found[0].status != TickStatus.STARTED

    wait_for(ended, f"a tick of {schedule}")
    return found[0]
