"""The worked scripts run in order, each on what the one before left, and say what they are there to show."""

from pathlib import Path

import pytest

from examples import judge_it, load_bars, look_at_features, pretrain_encoder, train_one_arm


def test_the_stages_run_one_after_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = []
    for script in (load_bars, look_at_features, pretrain_encoder, train_one_arm, judge_it):
        script.main(tmp_path)
        said.append(capsys.readouterr().out)
    for text, promise in zip(
        said,
        ["audit passed", "blind to the future: True", "model ", "net Sharpe on 411 later bars", "95% interval"],
        strict=True,
    ):
        assert promise in text
    assert {path.name for path in tmp_path.iterdir()} == {"bars.parquet", "datasets", "encoders", "trials"}
