"""The worked scripts run in order, each on what the one before left, and say what they are there to show."""

from pathlib import Path

import pytest

from cappuccino_ml.environment import Guards
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
    assert "turnover 0.00" not in said[3], "the policy trades"
    assert {path.name for path in tmp_path.iterdir()} == {"bars.parquet", "datasets", "encoders", "trials"}


def test_a_policy_that_never_trades_is_judged_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    still = train_one_arm.TRAINING.model_copy(
        update={"guards": Guards(dead_band=0.9), "ppo": train_one_arm.TRAINING.ppo.model_copy(update={"steps": 2048})}
    )
    monkeypatch.setattr(train_one_arm, "TRAINING", still)
    for script in (load_bars, look_at_features, pretrain_encoder, train_one_arm, judge_it):
        script.main(tmp_path)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no difference to equal weight can be shown: the candidate never trades")
