"""The progress bar of a study: drawn in a terminal, gone with the last trial, silent elsewhere."""

import io

from rich.console import Console

from cappuccino_ml.study import Progress
from cappuccino_pipeline.study_bar import StudyBar

HALF = Progress(
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
WHOLE = HALF.model_copy(update={"completed": 6})


def drawn(*, terminal: bool, colour: bool = False) -> tuple[StudyBar, io.StringIO]:
    file = io.StringIO()
    return StudyBar(Console(file=file, force_terminal=terminal, width=120, no_color=not colour)), file


def test_a_terminal_shows_counts_velocity_time_left_and_the_best_of_each_arm() -> None:
    bar, file = drawn(terminal=True)
    bar(HALF)
    bar(WHOLE)
    text = file.getvalue()
    assert "4/8" in text
    assert "1 pruned, 1 failed, 4.0 a minute, about 1 min left; best mlp +1.25 (#0)" in text
    assert bar._bar is None, "it left with the last trial"


def test_a_file_gets_nothing() -> None:
    bar, file = drawn(terminal=False)
    bar(HALF)
    bar(WHOLE)
    assert file.getvalue() == ""
