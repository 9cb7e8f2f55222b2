"""What a person gets wrong ends in one sentence: the value, the limit, the way out; and nothing is half-written."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import Universe
from cappuccino_ml.core import CheckpointError, ManualClock
from cappuccino_ml.features import FeatureSchema, Scaler
from cappuccino_ml.policy import Actor, AgentConfig, AgentSettings, TrainingSettings, build_agent, save_agent
from cappuccino_ml.trading import deploy
from cappuccino_pipeline.configuration import Configuration
from cappuccino_pipeline.definitions import definitions_for
from cappuccino_pipeline.resources import Cappuccino

FIRST = pd.Timestamp("2024-01-01", tz="UTC")
BARS = 2160  # 90 days


def bars(*, seed: int, missing: range = range(0)) -> pd.DataFrame:
    """A random walk of hourly bars."""
    random = np.random.default_rng(seed)
    price = 100 * np.exp(np.cumsum(0.005 * random.standard_normal(BARS + 1)))
    opening, close = price[:-1], price[1:]
    frame = pd.DataFrame(
        {
            "timestamp": pd.date_range(FIRST, periods=BARS, freq="1h").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "open": opening,
            "high": np.maximum(opening, close) * 1.001,
            "low": np.minimum(opening, close) * 0.999,
            "close": close,
            "volume": random.lognormal(3, 0.3, BARS),
        }
    )
    return frame.drop(index=list(missing))


def write(folder: Path, *, btc: pd.DataFrame) -> Path:
    folder.mkdir(exist_ok=True)
    btc.to_csv(folder / "BTC-USD.csv", index=False)
    bars(seed=2).to_csv(folder / "ETH-USD.csv", index=False)
    return folder


@dataclass(frozen=True)
class Shell:
    """The real command in a process of its own."""

    state: Path

    def refused(self, *words: str, **variables: str) -> str:
        """Run the demo with `variables`; it must end as promised, and its one sentence must hold all `words`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CAPPUCCINO_")}
        environment |= {"CAPPUCCINO_STATE": str(self.state), "CAPPUCCINO_TICKERS": "BTC,ETH", **variables}
        command = [sys.executable, "-m", "cappuccino_pipeline", "demo"]
        run = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=self.state.parent, check=False, timeout=120
        )
        assert run.returncode == 1, run.stderr
        assert run.stderr.startswith("cappuccino: ")
        assert run.stderr.count("\n") == 1, run.stderr
        assert run.stderr.endswith((".\n", "?\n"))
        assert all(word in run.stderr for word in words), run.stderr
        assert "Traceback" not in run.stdout
        assert_whole(self.state)
        return run.stderr


def assert_whole(state: Path) -> None:
    """No file is left aside, no artefact lacks its mark, and every manifest names exactly the files that are there."""
    if not state.is_dir():
        return
    assert not [path for path in state.rglob("*") if ".tmp" in path.name]
    for stage in ("datasets", "encoders", "studies", "verdicts", "models", "trading"):
        assert not (state / stage).exists()
    for stage in ("bars", "features"):
        for table in (state / stage).glob("*"):
            entries = json.loads((table / "manifest.json").read_text())["partitions"].values()
            assert {path.name for path in table.glob("*.parquet")} == {entry["file"] for entry in entries}
            for entry in entries:
                assert hashlib.sha256((table / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(state=tmp_path / "state")


def test_a_folder_of_files_that_does_not_exist(shell: Shell, tmp_path: Path) -> None:
    shell.refused(
        str(tmp_path / "nowhere"),
        "CAPPUCCINO_FILES_DIR",
        "name the one that holds the bar files",
        CAPPUCCINO_SOURCE="files",
        CAPPUCCINO_FILES_DIR=str(tmp_path / "nowhere"),
    )
    assert not shell.state.exists()


def test_a_csv_with_the_wrong_columns(shell: Shell, tmp_path: Path) -> None:
    folder = write(tmp_path / "files", btc=bars(seed=1).rename(columns={"close": "last", "volume": "amount"}))
    shell.refused(
        "BTC-USD.csv",
        "lacks close, volume",
        "last, amount",
        "rename or add",
        CAPPUCCINO_SOURCE="files",
        CAPPUCCINO_FILES_DIR=str(folder),
    )


def test_a_hole_that_is_too_long_and_is_then_supplied(shell: Shell, tmp_path: Path) -> None:
    folder = write(tmp_path / "files", btc=bars(seed=1, missing=range(500, 509)))
    shell.refused(
        "BTC-USD",
        "9 bars from 2024-01-21T20:00Z",
        "more than the 6",
        "supply these bars",
        CAPPUCCINO_SOURCE="files",
        CAPPUCCINO_FILES_DIR=str(folder),
    )
    write(folder, btc=bars(seed=1))
    cappuccino = Cappuccino(
        Configuration(state=shell.state, source="files", files_folder=folder, universe=Universe(tickers=("BTC", "ETH")))
    )
    job = definitions_for(cappuccino).resolve_job_def("update_bars")
    tags = {"dagster/asset_partition_range_start": "2024-01", "dagster/asset_partition_range_end": "2024-03"}
    assert job.execute_in_process(tags=tags, instance=dg.DagsterInstance.ephemeral()).success
    assert len(cappuccino.panel().timestamps) == BARS
    assert not cappuccino.panel().is_filled.any()


def test_a_state_folder_that_is_a_file(shell: Shell) -> None:
    shell.state.write_text("not a folder")
    shell.refused(str(shell.state), "cannot be made", "set CAPPUCCINO_STATE")
    assert shell.state.read_text() == "not a folder"


def test_a_typo_in_the_name_of_a_variable(shell: Shell) -> None:
    shell.refused("CAPPUCCINO_SOUCE", "did you mean CAPPUCCINO_SOURCE?", CAPPUCCINO_SOUCE="files")
    assert not shell.state.exists()


def test_a_lake_written_by_another_schema(shell: Shell) -> None:
    universe = Universe(tickers=("BTC", "ETH"))
    cappuccino = Cappuccino(Configuration(state=shell.state, universe=universe))
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    day = cappuccino.source.fetch(symbol="BTC-USD", universe=universe, start=start, end=end)
    cappuccino.bars.write("2024-01", day.assign(symbol="BTC-USD"))
    manifest = cappuccino.bars.folder / "manifest.json"
    stored = json.loads(manifest.read_text())
    stored["identity"]["columns"] = {"timestamp": "ns"}
    manifest.write_text(json.dumps(stored))
    before = {path: path.read_bytes() for path in cappuccino.bars.folder.iterdir()}
    shell.refused(str(cappuccino.bars.folder), 'columns = {"timestamp": "ns"}', "is opened with columns", "delete")
    assert {path: path.read_bytes() for path in cappuccino.bars.folder.iterdir()} == before


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[[Universe], Path]:
    def make(universe: Universe) -> Path:
        schema = FeatureSchema.of(universe)
        training = TrainingSettings(agent=AgentSettings(lookback=2, net_dimension=16))
        shape = (len(schema.tickers), len(schema.features))
        ones = tuple((1.0,) * shape[1] for _ in range(shape[0]))
        config = AgentConfig(
            training=training,
            feature_schema=schema,
            scaler=Scaler(center=ones, scale=ones),
            dataset_key="0" * 16,
            rows=(300, 700),
            trained_until=datetime(2024, 2, 1, tzinfo=UTC),
            seed=1,
            encoder_key=None,
            code="0" * 12,
        )
        agent = build_agent(training.agent, tickers=shape[0], features=shape[1], seed=1)
        save_agent(tmp_path / "agent", agent=agent, config=config, history=[], example_window=np.ones((2, *shape)))
        return tmp_path / "agent"

    return make


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        (Universe(tickers=("ETH", "BTC")), ["ETH, BTC", "BTC, ETH"]),
        (Universe(tickers=("BTC", "ETH", "LTC")), ["BTC, ETH, LTC"]),
        (Universe(tickers=("BTC", "ETH"), quote="EUR"), ["quote = EUR", "quote = USD"]),
        (Universe(tickers=("BTC", "ETH"), timeframe="15m"), ["timeframe = 15m", "timeframe = 1h"]),
    ],
)
def test_a_checkpoint_of_another_universe(
    trained: Universe, words: list[str], checkpoint: Callable[[Universe], Path], tmp_path: Path
) -> None:
    record = tmp_path / "trading" / "deployment.json"
    with pytest.raises(CheckpointError) as caught:
        deploy(
            checkpoint(trained),
            load=Actor.load,
            universe=Universe(tickers=("BTC", "ETH")),
            record=record,
            version="3",
            alias="challenger",
            who="sensor",
            why="alias moved",
            clock=ManualClock(datetime(2024, 3, 1, tzinfo=UTC)),
            rehearse=lambda model: "not reached",
        )
    sentence = str(caught.value)
    assert all(word in sentence for word in [*words, "version 3 is not deployed", "nothing trades"]), sentence
    assert "\n" not in sentence
    assert not record.parent.exists()
