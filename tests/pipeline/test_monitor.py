"""The live view: it works before anything was run, fits any terminal, sees a running study, our processes, a page."""

import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from cappuccino_ml.core import ManualClock, derive_seed, mark_done, write_json
from cappuccino_pipeline.configuration import DEFAULT_SEED, Configuration
from cappuccino_pipeline.machine import Meter
from cappuccino_pipeline.monitor import Monitor, watch
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.study_watch import StudySoFar, StudyWatch

NOW = datetime.now(UTC)


@pytest.fixture
def cappuccino(tmp_path: Path) -> Cappuccino:
    return Cappuccino(Configuration(state=tmp_path), clock=ManualClock(NOW))


def shown(monitor: Monitor, *, width: int, height: int = 24, whole: bool = False) -> list[str]:
    console = Console(width=width, height=height, record=True, file=io.StringIO(), highlight=False)
    console.print(monitor.screen(console, whole=whole))
    return console.export_text().splitlines()


def fold(
    study: Path, name: str, *, arm: str, sharpe: float, minutes_ago: float, trial: int = 0, index: int = 0
) -> None:
    place = study / "trials" / name
    seed = derive_seed(DEFAULT_SEED, "trial", trial, "fold", index)
    write_json(place / "job.json", {"training": {"agent": {"arm": arm}, "trial": trial}, "seed": seed})
    write_json(place / "result.json", {"sharpe": sharpe, "steps": 512})
    mark_done(place)
    then = (NOW - timedelta(minutes=minutes_ago)).timestamp()
    os.utime(place / "DONE", (then, then))


@pytest.fixture
def running(cappuccino: Cappuccino) -> Path:
    """A study with two finished folds of each of two trials and a fold that is being written."""
    study = cappuccino.configuration.studies_root / "abc123"
    for index, (arm, sharpe) in enumerate([("mlp", 0.5), ("mlp", 1.5), ("ft_scratch", -1.0), ("ft_scratch", 2.0)]):
        fold(study, f"f{index}", arm=arm, sharpe=sharpe, minutes_ago=4 - index, trial=index // 2, index=index % 2)
    (study / "trials" / "unfinished").mkdir()
    return study


def look(cappuccino: Cappuccino) -> StudySoFar | None:
    return StudyWatch(cappuccino.configuration.studies_root, seed=cappuccino.configuration.seed).look()


class TestStudy:
    def test_arms_pace_and_unfinished_folds_are_read_from_the_folder(self, cappuccino: Cappuccino, running: Path):
        so_far = look(cappuccino)
        assert so_far is not None
        assert [(arm.arm, arm.folds, arm.mean, arm.best) for arm in so_far.arms] == [
            ("ft_scratch", 2, 0.5, 2.0),
            ("mlp", 2, 1.0, 1.5),
        ]
        assert so_far.steps_per_second == pytest.approx(3 * 512 / 180, abs=0.01)
        assert so_far.folds[0].sharpe == 2.0

    def test_what_the_study_says_of_itself_is_shown_with_a_bar_and_the_time_left(
        self, cappuccino: Cappuccino, running: Path
    ):
        said = {"total": 8, "completed": 1, "pruned": 1, "failed": 0, "seconds_left": 240.0, "workers": 2}
        write_json(running / "progress.json", {**said, "per_minute": 0.5, "best": {"mlp": {"number": 3, "value": 1.0}}})
        text = "\n".join(shown(Monitor(cappuccino), width=160, whole=True))
        assert "abc123 [######..................] 2 of 8 trials, 1 pruned, 0 failed, about 4 min left" in text
        assert "4 folds finished, 30.0 trials an hour, 9 steps a second, 2 workers" in text
        assert "+1.00 (#3)" in text

    def test_the_best_trials_come_first_with_state_folds_steps_and_seconds(self, cappuccino: Cappuccino, running: Path):
        write_json(running / "progress.json", {"total": 8, "completed": 3, "pruned": 1, "failed": 1})
        with (running / "journal.log").open("w") as journal:
            for number, state, sharpes, jobs in (
                (2, "complete", [3.0, 4.0], ["a", "b"]),
                (3, "pruned", [-5.0], ["c"]),
                (4, "failed", [], ["d"]),
            ):
                result = {"number": number, "arm": "mlp", "state": state, "fold_sharpes": sharpes, "fold_jobs": jobs}
                entry = {"user_attrs": {"result": json.dumps(result | {"steps": 512 * len(sharpes)})}}
                journal.write(json.dumps(entry) + "\n")
            journal.write('{"torn')
        for name, minutes_ago in (("a", 9.0), ("b", 8.0), ("c", 7.0)):
            fold(running, name, arm="mlp", sharpe=0.0, minutes_ago=minutes_ago, trial=9)
        lines = [line.split() for line in shown(Monitor(cappuccino), width=160, whole=True)]
        start = next(index for index, line in enumerate(lines) if line[:3] == ["trial", "arm", "state"])
        assert lines[start + 1 : start + 6] == [
            ["#2", "mlp", "complete", "+3.00", "+4.00", "1,024", "60"],
            ["#0", "mlp", "open", "+0.50", "+1.50", "1,024", "60"],
            ["#1", "ft_scratch", "open", "-1.00", "+2.00", "1,024", "60"],
            ["#3", "mlp", "pruned", "-5.00", "512", "-"],
            ["#4", "mlp", "failed", "-", "0", "-"],
        ]

    def test_when_none_runs_the_last_one_is_shown_and_an_older_unfinished_one_is_named(
        self, cappuccino: Cappuccino, running: Path
    ):
        last = cappuccino.configuration.studies_root / "def456"
        for index in range(2):
            fold(last, f"l{index}", arm="ft_pretrained", sharpe=1.25, minutes_ago=index, trial=5, index=index)
        write_json(last / "study.json", {"trials": []})
        mark_done(last)
        cappuccino.current.point("optuna_study", last)
        later = (NOW + timedelta(hours=1)).timestamp()
        os.utime(last / "DONE", (later, later))
        text = "\n".join(shown(Monitor(cappuccino), width=160, whole=True))
        assert "none is running; the last one: def456" in text
        assert "abc123 was begun before it and left unfinished" in text
        assert re.search(r"ft_pretrained +open +\+1\.25 \+1\.25", text)

    def test_a_finished_study_is_not_running(self, cappuccino: Cappuccino, running: Path):
        mark_done(running)
        assert look(cappuccino) is None


class TestProcesses:
    def test_a_process_on_this_state_folder_is_seen_and_one_on_another_is_not(self, tmp_path: Path):
        code = tmp_path / "cappuccino_stand_in.py"
        code.write_text("input()")
        here, there = tmp_path / "here", tmp_path / "there"
        here.mkdir()
        started = [
            subprocess.Popen(
                [sys.executable, str(code)],
                stdin=subprocess.PIPE,
                env=os.environ | {"CAPPUCCINO_STATE": str(folder)},
            )
            for folder in (here, there)
        ]
        try:
            seen = Meter(here).look().workers
            assert [worker.pid for worker in seen] == [started[0].pid]
            assert seen[0].what == "cappuccino_stand_in"
            assert seen[0].memory > 0
        finally:
            for process in started:
                process.communicate(b"\n", timeout=10)

    def test_a_gpu_is_asked_for_through_its_tool_and_a_silent_one_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        tool = tmp_path / "nvidia-smi"
        tool.write_text("#!/bin/sh\necho 'Tesla T4, 37, 1024, 15360'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        assert Meter(tmp_path).look().gpus == ("Tesla T4, 37 % busy, 1024 of 15360 MB",)
        tool.write_text("#!/bin/sh\nexit 9\n")
        assert Meter(tmp_path).look().gpus == ("nvidia-smi does not answer (CalledProcessError)",)


class TestView:
    @pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50), (40, 24)])
    def test_it_never_is_wider_than_the_terminal(self, cappuccino: Cappuccino, running: Path, width: int, height: int):
        assert max(map(len, shown(Monitor(cappuccino), width=width, height=height))) <= width

    @pytest.mark.parametrize("trials", [2, 60])
    def test_everything_fits_a_terminal_of_80_by_24(self, cappuccino: Cappuccino, running: Path, trials: int):
        for number in range(2, trials):
            fold(running, f"t{number}", arm="ft_pretrained", sharpe=0.0, minutes_ago=9, trial=number)
        write_json(
            running / "progress.json", {"total": 80, "completed": 2, "pruned": 0, "failed": 0, "seconds_left": 60.0}
        )
        lines = shown(Monitor(cappuccino), width=80, height=24)
        assert len(lines) <= 24
        assert lines[-1].startswith("next runs")
        assert any(line.split()[:3] == ["#0", "mlp", "open"] for line in lines)
        assert any(re.search(r"\b\d+ more", line) for line in lines) == (trials > 20)

    def test_before_anything_was_run_every_line_is_there(self, cappuccino: Cappuccino):
        text = "\n".join(shown(Monitor(cappuccino), width=100, height=30))
        for name in ("alarms", "running", "study", "workers", "machine", "trader", "deployed", "bars", "next runs"):
            assert re.search(rf"^{name} ", text, flags=re.MULTILINE)
        assert "PROBLEM" not in text

    def test_once_prints_and_ends(self, cappuccino: Cappuccino):
        console = Console(width=100, file=(said := io.StringIO()))
        watch(Monitor(cappuccino), console, once=True, every_s=1.0, page=None, sleep=lambda seconds: None)
        assert said.getvalue().startswith("monitor: simulated-usd-1h")

    def test_a_page_is_kept_up_to_date_and_asks_to_be_read_again(self, cappuccino: Cappuccino, running: Path):
        page, looks = cappuccino.configuration.state / "m.html", []

        def sleep(seconds: float) -> None:
            looks.append(page.read_text() if page.exists() else "")
            if len(looks) == 3:
                raise KeyboardInterrupt
            if len(looks) == 2:
                fold(running, "another", arm="ft_pretrained", sharpe=3.0, minutes_ago=0)

        with pytest.raises(KeyboardInterrupt):
            watch(Monitor(cappuccino), Console(file=io.StringIO()), once=False, every_s=5.0, page=page, sleep=sleep)
        assert '<meta http-equiv="refresh" content="5">' in looks[-1]
        assert ["ft_pretrained" in look for look in looks] == [False, False, True]
