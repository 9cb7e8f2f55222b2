"""Lines that count get the time left; the bar is drawn in a terminal, gone with the last step, silent elsewhere."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cappuccino_ml.study import Progress
from cappuccino_pipeline.assets.study import step_of
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.resources import Cappuccino
from cappuccino_pipeline.stage_bar import Countdown, StageBar, Step

HALF = step_of(
    Progress(
        study="5f0c",
        total=8,
        completed=2,
        pruned=1,
        failed=1,
        seconds=60.0,
        per_minute=4.0,
        seconds_left=60.0,
        best={"mlp": {"number": 0, "value": 1.25}},
    )
)
WHOLE = Step("trial", 8, 8)


def drawn(*, terminal: bool) -> tuple[StageBar, io.StringIO]:
    file = io.StringIO()
    return StageBar(Console(file=file, force_terminal=terminal, width=120, no_color=True)), file


def test_a_terminal_shows_counts_velocity_time_left_and_the_best_of_each_arm() -> None:
    bar, file = drawn(terminal=True)
    bar(HALF)
    bar(WHOLE)
    text = file.getvalue()
    assert "4/8" in text
    assert "1 pruned, 1 failed, 4.0 a minute, about 1 min left; best mlp +1.25 (#0)" in text
    assert bar._bar is None, "it left with the last trial"


def test_another_stage_takes_the_place_of_a_bar_and_none_ends_it() -> None:
    bar, file = drawn(terminal=True)
    bar(Step("trial", 0, 8))
    bar(Step("verdict"))
    assert bar._bar is not None
    assert [task.total for task in bar._bar.tasks] == [None]
    bar(None)
    assert bar._bar is None
    assert "verdict" in file.getvalue()


def test_a_file_gets_nothing() -> None:
    bar, file = drawn(terminal=False)
    bar(HALF)
    bar(WHOLE)
    assert file.getvalue() == ""


def test_the_time_left_follows_from_the_pace_since_the_stage_began() -> None:
    seconds = iter([0.0, 10.0, 30.0, 50.0, 60.0, 61.0, 90.0])
    countdown = Countdown(now=lambda: next(seconds))
    assert countdown("pre-training 3 encoders, at most 8 epochs each") is None
    assert countdown("cross-validation 4/6  ft, seed 0") == Step("cross-validation", 4, 6, "about 40 s left")
    assert countdown("cross-validation 5/6  ft, seed 1") == Step("cross-validation", 5, 6, "about 20 s left")
    assert countdown("cross-validation 6/6  mlp, seed 0") == Step("cross-validation", 6, 6)
    assert countdown("verdict on mlp: win") is None
    assert countdown("ablation 1/3  default, seed 0") == Step("ablation", 1, 3, "about 58 s left")


@pytest.mark.parametrize("line", ["encoder 1/3  fold-0: masked R2 0.8", "attribution 1/2  what moves mlp most: rsi"])
def test_whoever_watches_gets_the_line_with_the_time_left_and_the_step(line: str, tmp_path: Path) -> None:
    lines: list[str] = []
    steps: list[Step | None] = []
    cappuccino = Cappuccino(Configuration(state=tmp_path), echo=lines.append, watch=steps.append)
    assert cappuccino.say(line).startswith(f"{line}; about ")
    cappuccino.say("verdict on mlp: win")
    assert lines[1] == "verdict on mlp: win"
    assert steps[0] is not None
    assert (steps[0].done, steps[1]) == (1, None)
