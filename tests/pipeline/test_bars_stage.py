"""Bars and features as Dagster shows them: revisions make features stale, and the next run mends exactly those."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from cappuccino_ml.bars import SimulatedSource, Universe
from cappuccino_ml.core import ManualClock
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.definitions import definitions_for
from cappuccino_pipeline.feature_months import FeatureMonths, upstream_months
from cappuccino_pipeline.jobs import months_tags
from cappuccino_pipeline.resources import Cappuccino

PAIR = Universe(tickers=("BTC", "ETH"))
MONTHS = ["2024-01", "2024-02", "2024-03", "2024-04", "2024-05"]


class Revising(SimulatedSource):
    """The simulated exchange with a hand that revises closes."""

    def __init__(self) -> None:
        super().__init__()
        self.revised: dict[tuple[str, pd.Timestamp], float] = {}
        self.asked = 0

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        self.asked += 1
        bars = super().fetch(symbol=symbol, universe=universe, start=start, end=end)
        for (name, stamp), factor in self.revised.items():
            rows = (bars["timestamp"] == stamp) & (name == symbol)
            bars.loc[rows, ["open", "high", "low", "close"]] *= factor
        return bars


class Stage:
    """The first two stages over one state folder and one Dagster instance."""

    def __init__(self, state: Path, *, instance: dg.DagsterInstance) -> None:
        self.source = Revising()
        self.cappuccino = Cappuccino(
            Configuration(state=state, universe=PAIR), clock=ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        )
        self.cappuccino.source = self.source
        self.instance, self.definitions = instance, definitions_for(self.cappuccino)

    def run(
        self, *months: str, assets: tuple[str, ...] = ("ohlcv_bars", "indicators"), refresh: bool = False
    ) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in assets],
            tags=months_tags(first=months[0], last=months[-1]),
            run_config={"ops": {"ohlcv_bars": {"config": {"refresh": refresh}}}} if "ohlcv_bars" in assets else {},
        )

    def stale(self) -> list[str]:
        """Months of `indicators` that Dagster's page marks as stale."""
        resolver = CachingStaleStatusResolver(
            self.instance, self.definitions.resolve_asset_graph(), LoadingContextForTest(self.instance)
        )
        key = dg.AssetKey("indicators")
        return [month for month in MONTHS if resolver.get_status(key, month) == StaleStatus.STALE]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path / "state", instance=dg.DagsterInstance.ephemeral())
    assert stage.run(*MONTHS).success
    return stage


def features_by_month(cappuccino: Cappuccino) -> dict[str, str]:
    return {month: entry.sha256 for month, entry in cappuccino.features.partitions.items()}


def test_running_again_asks_for_nothing_and_nothing_is_stale(stage: Stage) -> None:
    asked, before = stage.source.asked, features_by_month(stage.cappuccino)
    assert stage.stale() == []
    assert stage.run(*MONTHS).success
    assert stage.source.asked == asked
    assert features_by_month(stage.cappuccino) == before
    assert stage.stale() == []


def test_a_revision_makes_the_months_that_remember_it_stale_and_the_next_run_mends_exactly_those(
    stage: Stage, tmp_path: Path
) -> None:
    stage.source.revised[("ETH-USD", pd.Timestamp("2024-02-25T07:00", tz="UTC"))] = 1.02
    before = features_by_month(stage.cappuccino)
    assert stage.run("2024-02", assets=("ohlcv_bars",), refresh=True).success
    assert {"2024-02", "2024-03", "2024-04"} <= set(stage.stale())
    assert features_by_month(stage.cappuccino) == before

    result = stage.run("2024-02", assets=("indicators",))
    written = {
        event.partition
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("indicators")
    }
    changed = {month for month, sha in features_by_month(stage.cappuccino).items() if sha != before[month]}
    # April's 1,000 bars of context reach the revised one; what is left of it there is below the last bit.
    assert written == {"2024-02", "2024-03", "2024-04"}
    assert changed == {"2024-02", "2024-03"}
    assert stage.stale() == []

    fresh = Stage(tmp_path / "fresh", instance=dg.DagsterInstance.ephemeral())
    fresh.source.revised = stage.source.revised
    assert fresh.run(*MONTHS).success
    assert features_by_month(fresh.cappuccino) == features_by_month(stage.cappuccino)


def test_stored_features_that_are_not_those_of_the_bars_are_named(stage: Stage) -> None:
    table = stage.cappuccino.features
    frame = table.read("2024-03")
    frame.loc[7, "rsi"] += 1e-9
    table.write("2024-03", frame)
    result = stage.run("2024-05")
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "features_are_current"]
    assert not check.passed
    assert check.metadata["stale"].value == "2024-03"
    assert stage.run("2024-03").success
    (check,) = [
        one for one in stage.run("2024-05").get_asset_check_evaluations() if one.check_name == "features_are_current"
    ]
    assert check.passed


def test_a_few_days_of_bars_are_too_few_to_judge_and_that_is_a_warning(tmp_path: Path) -> None:
    stage = Stage(tmp_path, instance=dg.DagsterInstance.ephemeral())
    stage.cappuccino.clock = ManualClock(datetime(2024, 1, 9, tzinfo=UTC))
    result = stage.run("2024-01")
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "check_features"]
    assert (result.success, check.passed, check.severity) == (True, False, dg.AssetCheckSeverity.WARN)


def test_a_revision_is_shown_with_what_it_was_and_is(stage: Stage) -> None:
    stage.source.revised[("BTC-USD", pd.Timestamp("2024-03-05T07:00", tz="UTC"))] = 1.01
    result = stage.run("2024-03", refresh=True)
    (event,) = [
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("ohlcv_bars")
    ]
    assert event.metadata["revisions_count"].value == 1
    assert event.metadata["changed_from"].value == "2024-03-05 07:00"
    assert "2024-03-05 07:00" in str(event.metadata["revisions"].value)
    assert event.metadata["dagster/row_count"].value == stage.cappuccino.bars.partitions["2024-03"].rows


def test_the_checks_for_people_warn_and_do_not_stop_the_run(stage: Stage) -> None:
    stage.source.revised[("BTC-USD", pd.Timestamp("2024-04-05T07:00", tz="UTC"))] = 1.6
    result = stage.run("2024-04", refresh=True)
    assert result.success
    evaluations = {event.check_name: event for event in result.get_asset_check_evaluations()}
    assert not evaluations["no_outliers"].passed
    assert evaluations["no_outliers"].severity == dg.AssetCheckSeverity.WARN
    assert "BTC-USD" in str(evaluations["no_outliers"].metadata["newest"].value)
    assert {name for name, one in evaluations.items() if one.passed} == {
        "audit_bars",
        "bars_are_fresh",
        "clocks_agree",
        "check_features",
        "features_are_current",
    }


def test_months_depend_on_as_many_before_them_as_the_filters_remember() -> None:
    months: list[Any] = [f"2024-{month:02d}" for month in range(1, 13)]
    for timeframe in ("5m", "1h", "4h"):
        universe = Universe(timeframe=timeframe)
        around = FeatureMonths(lambda **_: None, universe=universe, common_first=datetime(2024, 1, 1, tzinfo=UTC))  # type: ignore[arg-type,return-value]
        for place, month in enumerate(months):
            later = [other for other in around.neighbours(month, months) if other > month]
            reach = upstream_months(universe)
            assert set(later) <= set(months[place + 1 : place + 1 + reach])
            assert months[place + 1 : place + 2] == later[:1]


def test_one_check_can_be_run_without_loading_bars_again(stage: Stage) -> None:
    stage.run("2024-01", assets=("ohlcv_bars",))
    asked, key = stage.source.asked, dg.AssetCheckKey(dg.AssetKey("ohlcv_bars"), "bars_are_fresh")
    job = stage.definitions.resolve_implicit_global_asset_job_def()
    only = job.get_subset(asset_selection=set(), asset_check_selection={key})
    result = only.execute_in_process(instance=stage.instance)
    assert [one.check_name for one in result.get_asset_check_evaluations()] == ["bars_are_fresh"]
    assert stage.source.asked == asked
