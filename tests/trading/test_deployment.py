"""A model is verified before it trades; a bad one leaves the last good one in place."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import CheckpointError, ManualClock, TradingError, write_json
from cappuccino_ml.features import MarketTable
from cappuccino_ml.registry import ModelCard
from cappuccino_ml.trading import Deployment, TradingModel, deploy, read_deployment, rehearse, wanted

from .conftest import FIRST, UNIVERSE, FakeActor, always, make_panel


def store(folder: Path, actor: FakeActor, *, offset: float = 0.0, **card: Any) -> None:
    """The files that a registered version of `actor` has beside its weights."""
    window, entries = np.full((3, 3, 14), 0.01), np.array([1, 0, 0, 0], dtype=np.float32)
    action = FakeActor().act(window, entries) + offset
    made = ModelCard(
        **{
            "key": actor.key,
            "arm": actor.arm,
            "study_key": "s",
            "outcome": "win",
            "schema_hash": actor.schema.hash,
            "data_manifest": "da7a",
            "source_label": "simulated",
            **card,
        }
    )
    example = {"window": window.tolist(), "entries": entries.tolist(), "action": action.tolist()}
    write_json(folder / "model_card.json", made)
    write_json(folder / "verdict.json", {"outcome": "win"})
    write_json(folder / "data_manifest.json", {"key": "da7a"})
    write_json(folder / "example.json", example)


def passes(model: TradingModel) -> str:
    return "168 bars replayed"


def stumbles(model: TradingModel) -> str:
    raise TradingError("3 of 168 bars differ")


def roll_out(tmp_path: Path, actor: FakeActor, version: str, *, offset: float = 0.0, **changes: Any) -> Deployment:
    store(tmp_path, actor, offset=offset, **changes.pop("card", {}))
    for name in changes.pop("lost", ()):
        (tmp_path / name).unlink()
    settings: dict[str, Any] = {
        "load": lambda folder: actor,
        "universe": UNIVERSE,
        "record": tmp_path / "deployment.json",
        "version": version,
        "alias": "challenger",
        "who": "sensor",
        "why": "alias moved",
        "clock": ManualClock(datetime(2024, 1, 1, tzinfo=UTC)),
        "rehearse": passes,
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
        (FakeActor(), {"card": {"key": "other"}}, "its card is of model other"),
        (FakeActor(), {"card": {"schema_hash": "5c"}}, "schema 5c, its weights are"),
        (FakeActor(), {"card": {"data_manifest": "d"}}, "its card names data d"),
        (FakeActor(), {"lost": ["verdict.json", "example.json"]}, "verdict.json, example.json was not registered"),
        (FakeActor(), {"offset": 0.1}, "stored example"),
        (FakeActor(), {"rehearse": stumbles}, "3 of 168 bars differ"),
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


def test_a_deployment_says_what_was_checked_and_every_one_is_remembered(tmp_path: Path) -> None:
    made = roll_out(tmp_path, FakeActor(key="one"), "1")
    assert [check.split(",")[0] for check in made.checks] == [
        "4 files as registered",
        f"schema {made.schema_hash[:12]} is that of BTC",
        "the stored example is reproduced",
        "168 bars replayed",
    ]
    roll_out(tmp_path, FakeActor(key="two"), "2", alias="champion")
    lines = [json.loads(line) for line in (tmp_path / "deployments.jsonl").read_text().splitlines()]
    assert [(line["version"], line["alias"], line["previous"]) for line in lines] == [
        ("1", "challenger", None),
        ("2", "champion", "1"),
    ]


def test_the_last_week_is_rehearsed_and_an_order_unlike_the_backtests_is_refused() -> None:
    panel = make_panel(seed=3, bars=FIRST + 40)
    table = MarketTable.from_panel(panel)
    said = rehearse(FakeActor(), model_version="2", panel=panel, table=table, bars=30)
    assert said.startswith("30 bars replayed")
    assert "equal to the backtest's" in said
    moody = FakeActor()
    moody.rule = lambda window, entries: np.full(3, 1.0 if len(moody.seen) > 35 else 0.2)
    with pytest.raises(TradingError, match="bars differ"):
        rehearse(moody, model_version="2", panel=panel, table=table, bars=30)
    with pytest.raises(TradingError, match="24 are needed"):
        rehearse(FakeActor(), model_version="2", panel=panel.slice(0, 310), table=table, bars=30)


def test_the_challenger_trades_before_the_champion() -> None:
    class Aliases(dict[str, str]):
        def alias(self, name: str) -> str | None:
            return self.get(name)

    assert wanted(Aliases()) is None  # type: ignore[arg-type]
    assert wanted(Aliases(champion="3")) == ("champion", "3")  # type: ignore[arg-type]
    assert wanted(Aliases(champion="3", challenger="5")) == ("challenger", "5")  # type: ignore[arg-type]
