"""Where we stand: an empty state, a full one and a broken one, as facts, on a terminal, as a page and as an asset."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from cappuccino_ml.bars import ingest_month
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import ManualClock, mark_done, write_json
from cappuccino_ml.trading import Ledger
from cappuccino_ml.trading.health import Health, State
from cappuccino_pipeline import status as view
from cappuccino_pipeline.assets.status import status as status_asset
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.dagster_home import open_instance
from cappuccino_pipeline.doctor import report as doctor
from cappuccino_pipeline.facts import Fact
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.runs import Orchestration, Tick, called, orchestration

NOW = datetime(2024, 2, 10, 7, 20, tzinfo=UTC)
PAIR = Universe(tickers=("BTC", "ETH"))


@pytest.fixture
def cappuccino(tmp_path: Path) -> Cappuccino:
    return Cappuccino(Configuration(state=tmp_path, universe=PAIR), clock=ManualClock(NOW))


def fact(cappuccino: Cappuccino, name: str) -> Fact:
    return next(one for one in view.standing(cappuccino) if one.name == name)


def finished(folder: Path, name: str, content: object) -> Path:
    write_json(folder / name, content)
    mark_done(folder)
    return folder


class TestWhenNothingWasEverRun:
    def test_every_fact_is_there_and_none_alarms(self, cappuccino: Cappuccino):
        known = view.standing(cappuccino)
        assert [one.name for one in known] == [
            *("data", "encoder", "last study", "verdict", "champion", "challenger", "deployed", "paper session"),
            *("trader", "alarms", "last run", "running", "next runs"),
        ]
        assert {one.tone for one in known} <= {"quiet", "good"}

    def test_looking_makes_no_history_and_no_registry(self, cappuccino: Cappuccino):
        view.standing(cappuccino)
        assert not cappuccino.configuration.dagster_home.exists()
        assert not cappuccino.configuration.mlflow_root.exists()

    def test_a_shell_without_the_variables_is_told_which_markets_are_there(self, cappuccino: Cappuccino):
        assert "CAPPUCCINO_" not in fact(cappuccino, "data").words
        (cappuccino.configuration.state / "current" / "files-usd-1h-0a1b2c").mkdir(parents=True)
        (cappuccino.configuration.state / "current" / cappuccino.configuration.market).mkdir()
        words = fact(cappuccino, "data").words
        assert words.endswith("something of files-usd-1h-0a1b2c: set the CAPPUCCINO_ variables it was made with")

    def test_on_files_no_trader_is_missed_and_the_way_to_a_session_is_said(self, tmp_path: Path):
        (tmp_path / "bars").mkdir()
        for ticker in PAIR.tickers:
            lines = [
                "timestamp,open,high,low,close,volume",
                *(f"2024-01-01T0{hour}:00Z,1,1,1,1,1" for hour in range(9)),
            ]
            (tmp_path / "bars" / f"{ticker}-USD.csv").write_text("\n".join(lines))
        configuration = Configuration(
            state=tmp_path / "state", source="files", files_folder=tmp_path / "bars", universe=PAIR
        )
        found = fact(Cappuccino(configuration, clock=ManualClock(NOW)), "trader")
        assert (found.tone, "materialize paper_trading_report" in found.words) == ("quiet", True)


class TestData:
    def fill(self, cappuccino: Cappuccino, now: datetime) -> None:
        for month in ("2024-01", "2024-02"):
            ingest_month(cappuccino.source, cappuccino.bars, PAIR, month, now=now, window=cappuccino.coverage)

    def test_bars_that_are_up_to_date_are_said_to_be_so_with_the_close_of_the_newest(self, cappuccino: Cappuccino):
        self.fill(cappuccino, NOW)
        found = fact(cappuccino, "data")
        assert "closed until 2024-02-10 07:00 UTC" in found.words
        assert "features until never" in found.words
        assert "behind" not in found.words

    def test_bars_that_stopped_are_a_warning_with_their_number(self, cappuccino: Cappuccino):
        self.fill(cappuccino, NOW - timedelta(hours=9))
        found = fact(cappuccino, "data")
        assert found.tone == "warning"
        assert "9 closed bars behind" in found.words


class TestModels:
    def test_the_current_encoder_study_and_verdict_are_read_back(self, cappuccino: Cappuccino):
        root = cappuccino.configuration.state
        trials = [
            {"arm": arm, "value": value, "state": state}
            for arm, value, state in [
                ("mlp", 0.5, "complete"),
                ("ft_scratch", 1.25, "complete"),
                ("mlp", None, "failed"),
                ("mlp", None, "pruned"),
            ]
        ]
        for stage, folder in {
            "pretrained_encoder": finished(root / "e", "config.json", {"skill": {"r2": {"model": 0.5, "ridge": 0.25}}}),
            "optuna_study": finished(root / "s", "study.json", {"trials": trials}),
            "validation_report": finished(
                root / "v",
                "report.json",
                {
                    "candidate_arm": "ft_scratch",
                    "candidate_trial": 1,
                    "verdict": {"outcome": "reject", "reasons": ["it lost", "and badly"]},
                },
            ),
        }.items():
            cappuccino.current.point(stage, folder)
        assert "masked R2 0.500 beside ridge 0.250" in fact(cappuccino, "encoder").words
        assert (
            "2 trials complete, 1 pruned, 1 failed; net Sharpe best FT +1.25, best MLP +0.50"
            in fact(cappuccino, "last study").words
        )
        assert fact(cappuccino, "verdict") == Fact(
            "verdict", "REJECT for ft_scratch (trial 1): it lost (and 1 more reasons)", "bad"
        )

    def test_a_broken_file_is_one_line_and_hides_nothing_else(self, cappuccino: Cappuccino):
        root = cappuccino.configuration.state
        cappuccino.current.point("optuna_study", finished(root / "s", "study.json", {"something": "else"}))
        cappuccino.current.point("validation_report", root / "gone")
        known = {one.name: one for one in view.standing(cappuccino)}
        assert known["last study"].words.startswith("PROBLEM: ")
        assert "materialize validation_report again" in known["verdict"].words
        assert known["encoder"].words == "none yet"


class TestTrader:
    def say(self, cappuccino: Cappuccino, *, state: State, age: timedelta, **more: Any) -> Fact:
        known: dict[str, Any] = {
            "state": state,
            "pid": os.getpid(),
            "market": cappuccino.configuration.market,
            "broker": "simulated",
            "started": datetime.now(UTC),  # of this very process; the rest of the time is made up
            "heartbeat": NOW - age,
        }
        Health.model_validate(known | more).write(cappuccino.configuration.health_file)
        return fact(cappuccino, "trader")

    def test_without_a_service_it_says_so(self, cappuccino: Cappuccino):
        assert fact(cappuccino, "trader").words == "none has traded by the clock on the simulated account"

    def test_a_living_trader_shows_its_state_and_heartbeat(self, cappuccino: Cappuccino):
        found = self.say(cappuccino, state="ACTIVE", age=timedelta(seconds=20), equity=1234.5, model_version="3")
        words = f"ACTIVE, process {os.getpid()}, version 3, equity 1,234.50, heartbeat 20 s ago"
        assert found == Fact("trader", words, "good")

    def test_one_whose_process_is_gone_is_bad_before_its_heartbeat_is_old(self, cappuccino: Cappuccino):
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        found = self.say(cappuccino, state="ACTIVE", age=timedelta(0), pid=child.pid)
        assert found.tone == "bad"
        assert found.words == f"ACTIVE, but its process {child.pid} is GONE, last heartbeat 0 s ago"

    def test_the_doctor_names_process_state_heartbeat_and_last_bar(self, cappuccino: Cappuccino):
        now = datetime.now(UTC)
        self.say(cappuccino, state="ACTIVE", age=timedelta(0), heartbeat=now, bar_decided=now)
        line = next(line for line in doctor(cappuccino.configuration) if line.startswith("trader: "))
        assert f"ACTIVE, process {os.getpid()}, decided {now:%Y-%m-%d %H:%M} UTC, heartbeat" in line

    def test_silence_a_halt_and_a_stale_feed_are_bad_whatever_else_it_said(self, cappuccino: Cappuccino):
        assert self.say(cappuccino, state="ACTIVE", age=timedelta(minutes=6)).tone == "bad"
        halted = self.say(cappuccino, state="HALTED", age=timedelta(0), why="drawdown")
        assert (halted.tone, halted.words) == ("bad", f"HALTED: drawdown, process {os.getpid()}, heartbeat 0 s ago")
        stale = self.say(cappuccino, state="ACTIVE", age=timedelta(0), feed_is_stale=True)
        assert (stale.tone, "the feed is STALE" in stale.words) == ("bad", True)

    def test_the_kill_file_is_seen(self, cappuccino: Cappuccino):
        cappuccino.configuration.account_root.mkdir(parents=True)
        cappuccino.configuration.kill_file.touch()
        found = self.say(cappuccino, state="ACTIVE", age=timedelta(0))
        assert (found.tone, "KILL file" in found.words) == ("warning", True)

    def test_one_that_a_person_stopped_is_not_an_alarm(self, cappuccino: Cappuccino):
        assert self.say(cappuccino, state="STOPPED", age=timedelta(days=2)).tone == "quiet"


class TestAlarms:
    def test_the_newest_recent_one_is_shown_and_older_ones_are_counted(self, cappuccino: Cappuccino):
        lines = [
            {"when": (NOW - timedelta(days=9)).isoformat(), "job": "trade", "run_id": "1", "reason": "long ago"},
            {"when": (NOW - timedelta(hours=1)).isoformat(), "job": "retrain", "run_id": "2", "reason": "disk full"},
        ]
        alerts = cappuccino.configuration.alerts_file
        alerts.write_text(json.dumps(lines[0]) + "\n")
        assert fact(cappuccino, "alarms").words.endswith("1 older ones in alerts.jsonl and the ledger")
        with alerts.open("a") as file:
            file.write(json.dumps(lines[1]) + "\n")
        assert fact(cappuccino, "alarms") == Fact(
            "alarms", "2024-02-10 06:20 UTC: run retrain failed: disk full", "bad"
        )

    def test_what_the_trader_wrote_into_its_ledger_alarms_while_it_holds_the_lock(self, cappuccino: Cappuccino):
        with Ledger(cappuccino.configuration.trading_root / "ledger.sqlite", durable=False) as ledger:
            ledger.record("halt", {"reason": "an order nobody made"}, at=NOW)
            assert "trader halt: an order nobody made" in fact(cappuccino, "alarms").words


class TestRuns:
    def test_the_next_tick_of_a_schedule_is_the_one_its_cron_means(self, tmp_path: Path):
        ticks = {tick.schedule: tick for tick in orchestration(tmp_path / "none", now=NOW).ticks}
        assert ticks["hourly_bars"].next == datetime(2024, 2, 10, 8, 3, tzinfo=UTC)
        assert ticks["nightly_retraining"].next == datetime(2024, 2, 11, 2, 30, tzinfo=UTC)
        assert not any(tick.on for tick in ticks.values())

    def test_a_run_under_way_and_the_last_one_are_seen(self, cappuccino: Cappuccino, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("DAGSTER_HOME", "restored afterwards")

        seen = {}

        @dg.op
        def works() -> None:
            seen.update({one.name: one for one in view.run_facts(cappuccino)})

        @dg.job
        def some_job() -> None:
            works()

        with open_instance(cappuccino.configuration.dagster_home) as instance:
            some_job.execute_in_process(instance=instance)
        assert seen["running"].words.startswith("some_job at works, for ")
        assert fact(cappuccino, "running").words == "nothing"
        assert fact(cappuccino, "last run").words.startswith("some_job SUCCESS")

    def test_a_run_without_a_job_is_called_after_its_assets(self):
        keys = frozenset({dg.AssetKey("indicators"), dg.AssetKey("ohlcv_bars")})
        assert called(dg.DagsterRun("__ASSET_JOB", asset_selection=keys)) == "indicators, ohlcv_bars"
        assert called(dg.DagsterRun("update_bars", asset_selection=keys)) == "update_bars"

    def test_a_schedule_that_is_on_while_nothing_ticks_is_a_warning(self):
        on = Tick(schedule="hourly_bars", on=True, next=NOW)
        assert view.next_runs(Orchestration(ticks=(on,), daemon=True)).tone == "plain"
        silent = view.next_runs(Orchestration(ticks=(on,), daemon=False))
        assert (silent.tone, silent.words) == (
            "warning",
            "hourly_bars 2024-02-10 07:20 UTC; but nothing ticks: start `make ui`",
        )


class TestViews:
    @pytest.mark.parametrize("width", [40, 80, 160])
    def test_the_page_fits_any_terminal(self, cappuccino: Cappuccino, width: int):
        console = Console(width=width, record=True, file=open("/dev/null", "w"), highlight=False)  # noqa: SIM115
        console.print(view.terminal(cappuccino, view.standing(cappuccino)))
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) < 50

    def test_the_html_page_needs_nothing_else_and_leads_with_what_is_wrong(self, cappuccino: Cappuccino):
        cappuccino.current.point("validation_report", cappuccino.configuration.state / "gone")
        written = view.page(cappuccino, view.standing(cappuccino), cappuccino.configuration.state / "p.html")
        text = written.read_text()
        assert text.index("verdict: PROBLEM") < text.index("All facts")
        assert "http://" not in text.replace("http://127.0.0.1", "")

    def test_the_asset_shows_the_same_facts_and_writes_the_page(self, cappuccino: Cappuccino):
        result = dg.materialize([status_asset], resources={"cappuccino": cappuccino}, selection=[status_asset])
        metadata = result.asset_materializations_for_node("status")[0].metadata
        for one in view.standing(cappuccino):
            if one.name not in ("last run", "running"):
                assert metadata[one.name.replace(" ", "_")].value == one.words
        assert Path(str(metadata["page"].value)).is_file()
