"""A model is verified before it trades; a bad one leaves the last good one in place."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import CheckpointError, ManualClock
from cappuccino_ml.trading import Deployment, deploy, read_deployment, wanted

from .conftest import UNIVERSE, FakeActor, always


def roll_out(tmp_path: Path, actor: FakeActor, version: str, **changes: Any) -> Deployment:
    settings: dict[str, Any] = {
        "load": lambda folder: actor,
        "universe": UNIVERSE,
        "record": tmp_path / "deployment.json",
        "version": version,
        "alias": "challenger",
        "who": "sensor",
        "why": "alias moved",
        "clock": ManualClock(datetime(2024, 1, 1, tzinfo=UTC)),
    }
    return deploy(tmp_path, **{**settings, **changes})


def refuse(folder: Path) -> FakeActor:
    raise CheckpointError("weights.safetensors is altered.")


def test_a_good_model_is_deployed_and_names_the_one_before(tmp_path: Path) -> None:
    assert read_deployment(tmp_path / "deployment.json") is None
    roll_out(tmp_path, FakeActor(key="one"), "1")
    second = roll_out(tmp_path, FakeActor(key="two"), "2")
    assert (second.previous, second.who, second.why) == ("1", "sensor", "alias moved")
    assert read_deployment(tmp_path / "deployment.json") == second
    assert roll_out(tmp_path, FakeActor(key="two"), "2", why="again") == second


@pytest.mark.parametrize(
    ("actor", "changes", "reason"),
    [
        (FakeActor(), {"load": refuse}, "altered"),
        (FakeActor(universe=Universe(tickers=("ETH", "BTC", "UNI"))), {}, "ETH, BTC, UNI"),
        (FakeActor(rule=always(np.nan, 0, 0)), {}, r"numbers in \[-1, 1\]"),
        (FakeActor(rule=always(0, 0)), {}, r"numbers in \[-1, 1\]"),
        (FakeActor(rule=always(2, 0, 0)), {}, r"numbers in \[-1, 1\]"),
    ],
)
def test_a_bad_model_leaves_the_last_good_one_in_place(
    tmp_path: Path, actor: FakeActor, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CheckpointError, match="nothing is deployed"):
        roll_out(tmp_path, actor, "1", **changes)
    good = roll_out(tmp_path, FakeActor(), "1")
    with pytest.raises(CheckpointError, match=f"version 2 is not deployed.*{reason}.*version 1 stays deployed"):
        roll_out(tmp_path, actor, "2", **changes)
    assert read_deployment(tmp_path / "deployment.json") == good


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_the_stored_example_must_be_reproduced(tmp_path: Path, offset: float) -> None:
    actor, window, entries = FakeActor(), np.full((3, 3, 14), 0.01), np.array([1, 0, 0, 0], dtype=np.float32)
    action = (actor.act(window, entries) + offset).tolist()
    example = {"window": window.tolist(), "entries": entries.tolist(), "action": action}
    (tmp_path / "example.json").write_text(json.dumps(example))
    if offset:
        with pytest.raises(CheckpointError, match="stored example"):
            roll_out(tmp_path, actor, "1")
    else:
        assert roll_out(tmp_path, actor, "1").version == "1"


def test_the_challenger_trades_before_the_champion() -> None:
    class Aliases(dict[str, str]):
        def alias(self, name: str) -> str | None:
            return self.get(name)

    assert wanted(Aliases()) is None  # type: ignore[arg-type]
    assert wanted(Aliases(champion="3")) == ("champion", "3")  # type: ignore[arg-type]
    assert wanted(Aliases(champion="3", challenger="5")) == ("challenger", "5")  # type: ignore[arg-type]
