"""What a stored agent promises: the same actions after reading it back, and refusal of anything that does not fit."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from cappuccino_ml.core import CheckpointError, SchemaMismatch
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.features import FEATURES, FEATURES_VERSION, FeatureSchema, Scaler
from cappuccino_ml.policy import (
    Actor,
    AgentConfig,
    AgentSettings,
    TrainingSettings,
    build_agent,
    load_agent,
    save_agent,
)

SCHEMA = FeatureSchema(tickers=("BTC", "ETH"), quote="USD", timeframe="1h", features=FEATURES, version=FEATURES_VERSION)
ENCODER = EncoderSettings(lookback=3, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16)
AGENTS = {
    "mlp": AgentSettings(arm="mlp", lookback=3, net_dimension=16),
    "ft": AgentSettings(arm="ft_scratch", lookback=3, net_dimension=16, encoder=ENCODER),
    "ft with two encoders": AgentSettings(
        arm="ft_scratch", lookback=3, net_dimension=16, encoder=ENCODER, share_encoder=False
    ),
}


def _store(folder: Path, settings: AgentSettings, seed: int = 1) -> AgentConfig:
    rows = np.random.default_rng(0).normal(size=(50, 2, len(FEATURES)))
    config = AgentConfig(
        training=TrainingSettings(agent=settings),
        feature_schema=SCHEMA,
        scaler=Scaler.fit(rows, slice(0, 50)),
        dataset_key="abc",
        rows=(10, 40),
        trained_until=datetime(2024, 1, 2, tzinfo=UTC),
        seed=seed,
        encoder_key=None,
        code="test",
    )
    agent = build_agent(settings, tickers=2, features=len(FEATURES), seed=seed)
    return save_agent(folder, agent=agent, config=config, history=[], example_window=rows[:3])


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_read_back_acts_as_before(tmp_path: Path, name: str) -> None:
    _store(tmp_path / "agent", AGENTS[name])
    example = json.loads((tmp_path / "agent" / "example.json").read_text())
    actor = Actor.load(tmp_path / "agent")
    action = actor.act(np.array(example["window"]), np.array(example["entries"], dtype=np.float32))
    assert action.tolist() == example["action"]
    assert actor.lookback == 3
    assert actor.arm == AGENTS[name].arm


def test_the_architecture_is_read_from_the_folder(tmp_path: Path) -> None:
    _store(tmp_path / "agent", AGENTS["ft"])
    agent, config = load_agent(tmp_path / "agent", expected=SCHEMA)
    assert config.training.agent == AGENTS["ft"]
    assert type(agent.actor_encoder).__name__ == "FTTransformerEncoder"


def test_equal_settings_have_one_key_and_another_seed_has_another(tmp_path: Path) -> None:
    first = _store(tmp_path / "one", AGENTS["mlp"])
    again = _store(tmp_path / "two", AGENTS["mlp"])
    other = _store(tmp_path / "three", AGENTS["mlp"], seed=2)
    assert first == again
    assert first.key != other.key
    assert (tmp_path / "one/weights.safetensors").read_bytes() == (tmp_path / "two/weights.safetensors").read_bytes()


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    _store(tmp_path / "agent", AGENTS["mlp"])
    weights = tmp_path / "agent" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="sha256"):
        load_agent(tmp_path / "agent")


def test_an_altered_configuration_is_refused(tmp_path: Path) -> None:
    _store(tmp_path / "agent", AGENTS["mlp"])
    config = tmp_path / "agent" / "agent.json"
    config.write_text(config.read_text().replace('"fee_bps": 25.0', '"fee_bps": 0.0'))
    with pytest.raises(CheckpointError, match="was altered"):
        load_agent(tmp_path / "agent")


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    _store(tmp_path / "agent", AGENTS["mlp"])
    (tmp_path / "agent" / "DONE").unlink()
    with pytest.raises(CheckpointError, match="no finished agent"):
        load_agent(tmp_path / "agent")


def test_defect_04_an_agent_of_another_ticker_order_is_refused(tmp_path: Path) -> None:
    _store(tmp_path / "agent", AGENTS["mlp"])
    other = SCHEMA.model_copy(update={"tickers": ("ETH", "BTC")})
    with pytest.raises(SchemaMismatch, match="ETH"):
        load_agent(tmp_path / "agent", expected=other)


def test_loading_does_not_disturb_the_global_random_state(tmp_path: Path) -> None:
    _store(tmp_path / "agent", AGENTS["ft"])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_agent(tmp_path / "agent")
    assert torch.equal(torch.rand(3), expected)
