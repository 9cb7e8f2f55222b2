"""The shell around the library: configuration, definitions, sensors, doctor and the command line."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from cappuccino_ml.bars import ingest_month, month_bounds, read_bars
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ConfigurationError
from cappuccino_ml.core.errors import CappuccinoError
from cappuccino_pipeline import cli
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.dagster_home import PID_TAG, bury_dead_runs, in_process_tags, open_instance
from cappuccino_pipeline.definitions import definitions_for, defs
from cappuccino_pipeline.doctor import report
from cappuccino_pipeline.jobs import months_tags
from cappuccino_pipeline.partitions import MONTHS, month_partitions
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.schedules import hourly_bars
from cappuccino_pipeline.sensors import DEPLOYMENT, REPORT, follow_aliases, run_failure_alert

KNOWN_ALIASES = ("challenger", "champion")


class FakeRegistry:
    """Aliases as the real registry gives them: version text, or None."""

    def __init__(self) -> None:
        self.points: dict[str, str] = {}

    def alias(self, alias: str) -> str | None:
        assert alias in KNOWN_ALIASES
        return self.points.get(alias)


@pytest.fixture
def cappuccino(tmp_path: Path) -> Cappuccino:
    return Cappuccino(Configuration(state=tmp_path))


@pytest.fixture
def registry(cappuccino: Cappuccino) -> FakeRegistry:
    fake = FakeRegistry()
    cappuccino.registry = fake  # a cached property: what is set is what is used
    cappuccino.configuration.mlflow_root.mkdir()
    cappuccino.configuration.mlflow_database.touch()
    return fake


class TestDefinitions:
    def test_they_load_and_hold_what_the_stage_names_promise(self):
        dg.Definitions.validate_loadable(defs)
        graph = defs.resolve_asset_graph()
        assert {"ohlcv_bars", "indicators"} <= {key.to_user_string() for key in graph.get_all_asset_keys()}
        assert {"audit_bars", "check_features"} <= {key.name for key in graph.asset_check_keys}

    def test_every_asset_has_an_owner_a_group_a_kind_a_sentence_and_a_code_version(self):
        for asset in defs.resolve_all_asset_specs():
            assert asset.owners, asset.key
            assert asset.group_name not in (None, "default"), asset.key
            assert asset.kinds, asset.key
            assert (asset.description or "").split("\n\n")[0].endswith("."), asset.key
            assert asset.code_version, asset.key

    def test_every_check_job_schedule_and_sensor_says_what_it_is_for(self):
        repository, graph = defs.get_repository_def(), defs.resolve_asset_graph()
        said = {key.name: graph.get_check_spec(key).description for key in graph.asset_check_keys}
        said |= {job.name: job.description for job in repository.get_all_jobs() if not job.name.startswith("__")}
        said |= {tick.name: tick.description for tick in [*repository.schedule_defs, *repository.sensor_defs]}
        assert [name for name, words in said.items() if not words] == []

    def test_what_should_be_fresh_has_a_policy_where_bars_keep_coming(self, tmp_path: Path):
        code = (
            "from cappuccino_pipeline.definitions import defs; "
            "print(sorted(a.key.to_user_string() for a in defs.resolve_all_asset_specs() if a.freshness_policy))"
        )
        found = {}
        for source in ("simulated", "alpaca"):
            environment = os.environ | {"CAPPUCCINO_SOURCE": source, "CAPPUCCINO_STATE": str(tmp_path)}
            run = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            found[source] = run.stdout.strip()
        assert found["simulated"] == "[]"
        assert found["alpaca"] == "['indicators', 'ohlcv_bars', 'pretrained_encoder', 'status']"

    def test_the_checks_on_data_block(self):
        graph = defs.resolve_asset_graph()
        blocking = {key.name for key in graph.asset_check_keys if graph.get_check_spec(key).blocking}
        assert {"audit_bars", "check_features"} <= blocking

    def test_schedules_are_shipped_stopped_and_sensors_running(self):
        repository = defs.get_repository_def()
        assert {s.name: s.default_status.value for s in repository.schedule_defs} == {
            "hourly_bars": "STOPPED",
            "nightly_retraining": "STOPPED",
        }
        running = {sensor.name for sensor in repository.sensor_defs if sensor.default_status.value == "RUNNING"}
        assert {"follow_aliases", "run_failure_alert"} <= running

    def test_the_simulated_range_is_24_months(self):
        keys = MONTHS.get_partition_keys()
        assert (keys[0], keys[-1], len(keys)) == ("2024-01", "2025-12", 24)

    def test_a_range_that_ends_inside_a_month_keeps_that_month(self):
        months = month_partitions(start=datetime(2020, 1, 15, tzinfo=UTC), end=datetime(2020, 12, 2, tzinfo=UTC))
        assert months.get_partition_keys()[-1] == "2020-12"
        assert month_bounds("2020-12") == (datetime(2020, 12, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))

    def test_the_running_month_is_a_partition_and_the_next_is_not(self):
        now = datetime.now(UTC)
        months = month_partitions(start=datetime(2020, 1, 1, tzinfo=UTC), end=now)
        assert months.get_partition_keys()[-1] == now.strftime("%Y-%m")


class TestMonths:
    def run(self, cappuccino: Cappuccino, first: str, last: str) -> dg.ExecuteInProcessResult:
        job = definitions_for(cappuccino).resolve_job_def("update_bars")
        return job.execute_in_process(tags=months_tags(first=first, last=last), instance=dg.DagsterInstance.ephemeral())

    def test_one_run_fills_all_months_and_running_it_again_changes_nothing(self, tmp_path: Path):
        cappuccino = Cappuccino(Configuration(state=tmp_path, universe=Universe(tickers=("BTC", "ETH"))))
        result = self.run(cappuccino, "2024-01", "2024-03")
        assert result.success
        assert (
            list(cappuccino.bars.partitions)
            == list(cappuccino.features.partitions)
            == ["2024-01", "2024-02", "2024-03"]
        )
        assert {e.check_name for e in result.get_asset_check_evaluations() if e.passed} == {
            "audit_bars",
            "bars_are_fresh",
            "clocks_agree",
            "no_outliers",
            "check_features",
            "features_are_current",
        }
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
        assert self.run(cappuccino, "2024-01", "2024-03").success
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before

    def test_a_month_comes_out_the_same_alone_or_in_a_backfill(self, tmp_path: Path):
        universe = Universe(tickers=("BTC", "ETH"))
        together, alone = (Cappuccino(Configuration(state=tmp_path / name, universe=universe)) for name in ("a", "b"))
        self.run(together, "2024-01", "2024-03")
        for month in ("2024-01", "2024-02", "2024-03"):
            self.run(alone, month, month)
        assert together.features.manifest_hash() == alone.features.manifest_hash()


class TestHourlyBars:
    @pytest.mark.parametrize(
        ("tick", "months"),
        [
            (datetime(2025, 3, 17, 5, 3, tzinfo=UTC), ["2025-03"]),
            (datetime(2025, 3, 1, 0, 3, tzinfo=UTC), ["2025-02", "2025-03"]),
            (datetime(2026, 1, 1, 0, 3, tzinfo=UTC), ["2025-12"]),
            (datetime(2027, 1, 9, 0, 3, tzinfo=UTC), []),
        ],
    )
    def test_each_tick_updates_the_months_that_may_lack_bars(
        self, cappuccino: Cappuccino, tick: datetime, months: list[str]
    ):
        data = self.tick(cappuccino, tick)
        assert [request.partition_key for request in data.run_requests or []] == months
        assert bool(data.skip_message) == (not months)

    def tick(self, cappuccino: Cappuccino, moment: datetime) -> ScheduleExecutionData:
        return hourly_bars.evaluate_tick(
            dg.build_schedule_context(
                scheduled_execution_time=moment,
                repository_def=defs.get_repository_def(),
                resources={"cappuccino": cappuccino},
            )
        )

    def test_months_that_were_left_half_asked_for_are_asked_for_again_however_long_the_machine_was_off(
        self, tmp_path: Path
    ):
        pair = Universe(tickers=("BTC", "ETH"))
        cappuccino = Cappuccino(Configuration(state=tmp_path, universe=pair))
        left_off = datetime(2024, 3, 31, 18, 3, tzinfo=UTC)
        for month, now in [("2024-02", left_off), ("2024-03", left_off)]:
            ingest_month(cappuccino.source, cappuccino.bars, pair, month, now=now, window=cappuccino.coverage)
        back = datetime(2024, 5, 4, 7, 3, tzinfo=UTC)
        asked = [request.partition_key for request in self.tick(cappuccino, back).run_requests or []]
        assert asked == ["2024-03", "2024-04", "2024-05"]
        for month in asked:
            ingest_month(cappuccino.source, cappuccino.bars, pair, str(month), now=back, window=cappuccino.coverage)
        later = self.tick(cappuccino, back + timedelta(hours=1)).run_requests or []
        assert [request.partition_key for request in later] == ["2024-05"]
        whole = cappuccino.source.fetch(
            symbol="ETH-USD",
            universe=pair,
            start=datetime(2024, 3, 1, tzinfo=UTC),
            end=datetime(2024, 5, 1, tzinfo=UTC),
        )
        held = read_bars(cappuccino.bars)
        inside = (held["symbol"] == "ETH-USD") & (held["timestamp"] >= "2024-03") & (held["timestamp"] < "2024-05")
        assert inside.sum() == len(whole)


class TestFollowAliases:
    def tick(self, cappuccino: Cappuccino, cursor: str | None) -> dg.SensorResult:
        context = dg.build_sensor_context(cursor=cursor, resources={"cappuccino": cappuccino})
        result = follow_aliases(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def test_each_movement_deploys_once_and_a_rollback_deploys_again(
        self, cappuccino: Cappuccino, registry: FakeRegistry
    ):
        cursor, keys, targets = None, [], []
        for points in [{}, {"champion": "1"}, {"champion": "2"}, {"champion": "1"}, {}]:
            registry.points = dict(points)
            first = self.tick(cappuccino, cursor)
            again = self.tick(cappuccino, first.cursor or cursor)
            assert not again.run_requests
            for request in first.run_requests or []:
                keys.append(request.run_key)
                targets.append(request.tags.get("mlflow/champion"))
                assert request.asset_selection == [DEPLOYMENT, REPORT]
            cursor = first.cursor or cursor
        assert targets == ["1", "2", "1", None]
        assert len(set(keys)) == len(keys) == 4

    def test_a_challenger_that_becomes_champion_is_a_movement(self, cappuccino: Cappuccino, registry: FakeRegistry):
        registry.points = {"challenger": "3", "champion": "1"}
        first = self.tick(cappuccino, None)
        registry.points = {"champion": "3"}
        second = self.tick(cappuccino, first.cursor)
        assert [request.tags for request in second.run_requests or []] == [{"mlflow/champion": "3"}]

    def test_without_a_registry_nothing_is_asked_and_no_database_is_made(self, cappuccino: Cappuccino):
        result = self.tick(cappuccino, None)
        assert not result.run_requests
        assert not cappuccino.configuration.mlflow_root.exists()


def test_a_failed_run_leaves_one_alert_line(cappuccino: Cappuccino):
    @dg.op
    def breaks() -> None:
        raise ValueError("the disk is full")

    @dg.job
    def breaking() -> None:
        breaks()

    instance = dg.DagsterInstance.ephemeral()
    result = breaking.execute_in_process(instance=instance, raise_on_error=False)
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failure_alert",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources={"cappuccino": cappuccino},
    ).for_run_failure()
    run_failure_alert(context)
    lines = [json.loads(line) for line in cappuccino.configuration.alerts_file.read_text().splitlines()]
    assert [(line["job"], line["run_id"]) for line in lines] == [("breaking", result.run_id)]


class TestDoctor:
    def test_an_empty_state_has_ten_lines_and_no_crash(self, tmp_path: Path):
        lines = report(Configuration(state=tmp_path))
        assert len(lines) == 10
        assert all(": " in line for line in lines)
        assert sum("none yet" in line for line in lines) == 7
        assert not any("PROBLEM" in line for line in lines)

    def test_what_is_broken_is_a_line_and_not_a_crash(self, tmp_path: Path):
        configuration = Configuration(state=tmp_path)
        configuration.trading_root.mkdir(parents=True)
        configuration.deployment_record.write_text("{half")
        (tmp_path / "studies" / "unfinished").mkdir(parents=True)
        lines = report(configuration)
        assert len(lines) == 10
        assert "PROBLEM" in next(line for line in lines if line.startswith("trader"))
        assert "1 unfinished" in next(line for line in lines if line.startswith("study"))


def test_runs_whose_process_is_gone_are_buried_and_living_ones_are_not(tmp_path: Path):
    @dg.job
    def some_job() -> None: ...

    with open_instance(tmp_path) as instance:
        open_runs = [
            instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.STARTED, tags=tags)
            for tags in ({}, {PID_TAG: "4194305"}, in_process_tags())
        ]
        assert sorted(bury_dead_runs(instance)) == sorted(run.run_id for run in open_runs[:2])
        assert bury_dead_runs(instance) == []
    del os.environ["DAGSTER_HOME"]


class TestCommandLine:
    def test_an_expected_error_is_one_sentence_and_exit_code_1(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("CAPPUCCINO_SOURCE", "kraken")
        monkeypatch.setattr(sys, "argv", ["cappuccino", "doctor"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        assert caught.value.code == 1
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert "CAPPUCCINO_SOURCE" in printed.err

    def test_errors_of_the_library_all_count_as_expected(self):
        assert issubclass(ConfigurationError, CappuccinoError)

    def test_help_is_quick(self):
        begun = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-m", "cappuccino_pipeline", "--help"], capture_output=True, text=True, check=True
        )
        assert time.perf_counter() - begun < 3  # under 1 s on an idle machine
        assert all(command in run.stdout for command in ("demo", "doctor", "ui"))
