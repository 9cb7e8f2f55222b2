"""Small untrained agents of each arm as folders on disk, as the registry's verified copies are."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.features import FEATURES, FeatureSchema, Scaler
from cappuccino_ml.policy import AgentConfig, AgentSettings, TrainingSettings, build_agent, save_agent

from .conftest import CENTER, SCALE

ENCODER = EncoderSettings(lookback=3, d_token=8, n_blocks=1, n_heads=2, dropout=0.0, encoding_dim=16)
ARMS = {
    "mlp": AgentSettings(arm="mlp", lookback=3, net_dimension=16),
    "ft_scratch": AgentSettings(arm="ft_scratch", lookback=3, net_dimension=16, encoder=ENCODER),
}


def store_agent(folder: Path, arm: str, *, universe: Universe, seed: int = 1) -> AgentConfig:
    """Its weights are random and turned up, so that it does not stand still."""
    tickers, features = len(universe.tickers), len(FEATURES)
    agent = build_agent(ARMS[arm], tickers=tickers, features=features, seed=seed)
    for parameter in agent.parameters():
        parameter.data *= 3
    config = AgentConfig(
        training=TrainingSettings(
            agent=ARMS[arm], guards=Guards(max_drawdown=0.9, dead_band=0.0), costs=Costs(slippage_bps=3.0)
        ),
        feature_schema=FeatureSchema.of(universe),
        scaler=Scaler(center=(tuple(CENTER),) * tickers, scale=(tuple(SCALE),) * tickers),
        dataset_key="abc",
        rows=(10, 40),
        trained_until=datetime(2024, 1, 2, tzinfo=UTC),
        seed=seed,
        encoder_key=None,
        code="test",
    )
    return save_agent(folder, agent=agent, config=config, history=[], example_window=np.zeros((3, tickers, features)))
