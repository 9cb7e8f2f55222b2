"""Joint fusion: what a book holds goes through the encoder, and one update stays in bounded memory."""

import json
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from cappuccino_ml.encoder import EncoderSettings
from cappuccino_ml.policy.networks import ActorCritic, build_agent
from cappuccino_ml.policy.ppo import train
from cappuccino_ml.policy.rollout import Encodings
from cappuccino_ml.policy.settings import AgentSettings, PPOSettings

ENCODER = EncoderSettings(
    lookback=3, tokenization="scalar", fusion="joint", d_token=8, n_blocks=2, n_heads=2, encoding_dim=12
)
ROWS = torch.tensor([2, 39, 17])


def agent_of(*, features: int = 3, **options: object) -> ActorCritic:
    settings = AgentSettings(arm="ft_pretrained", lookback=3, net_dimension=16, encoder=ENCODER, **options)
    return build_agent(settings, tickers=2, features=features, seed=0).eval()


@pytest.fixture
def market() -> Tensor:
    return torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def entries() -> Tensor:
    return torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(1))


def test_every_book_is_encoded_with_its_own_window(market: Tensor, entries: Tensor):
    agent = agent_of()
    actor_z, critic_z = agent.encode(market, ROWS)
    action, value = agent.mean_action(actor_z, entries), agent.value(critic_z, entries)
    assert action.shape == value.shape == (3, 4, 2)
    for u, row in enumerate(ROWS.tolist()):
        window = market[row - 2 : row + 1]
        for book in range(4):
            alone = agent.actor_encoder(window.unsqueeze(0), entries[u, book].unsqueeze(0))
            hidden = torch.relu(agent.actor.hidden(torch.relu(agent.actor.widen(alone))))
            torch.testing.assert_close(action[u, book], agent.actor.out(hidden)[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(agent.act(window, entries[u, 0]), action[u, 0].clamp(-1, 1).double())


@pytest.mark.parametrize("share", [True, False])
def test_the_encoder_is_in_actor_and_critic_and_is_stored_once(market: Tensor, entries: Tensor, share: bool):
    agent = agent_of(share_encoder=share)
    assert not any("borrowed" in name for name in agent.state_dict())
    assert agent.actor._borrowed[0] is agent.actor_encoder
    assert agent.critic._borrowed[0] is agent.critic_encoder
    before = agent.mean_action(agent.encode(market, ROWS)[0], entries)
    with torch.no_grad():
        agent.actor_encoder.tokenizer.entry_weight.add_(0.5)
    assert not torch.equal(before, agent.mean_action(agent.encode(market, ROWS)[0], entries))


def test_a_frozen_table_equals_fresh_windows(market: Tensor):
    agent = agent_of(freeze_encoder=True)
    stored, fresh = Encodings(agent, market, first=2, last=39)(ROWS), agent.encode(market, ROWS)
    assert torch.equal(stored[0], fresh[0])


def test_ppo_trains_it(make_planted):
    planted = make_planted()
    agent = agent_of(features=1)
    before = agent.actor_encoder.tokenizer.entry_weight.clone()
    settings = PPOSettings(steps=96, batch_size=48, epochs=1)
    history = train(agent, market=planted.features, env=planted.env(), settings=settings, seed=0)
    assert history[-1].steps >= 96
    assert not torch.equal(before, agent.actor_encoder.tokenizer.entry_weight)


CHILD = """
import json, resource, numpy as np, torch
from cappuccino_ml.encoder import BALANCED
from cappuccino_ml.environment import Costs, Guards, Layout, Reward, VectorEnv
from cappuccino_ml.policy.networks import build_agent
from cappuccino_ml.policy.ppo import train
from cappuccino_ml.policy.settings import AgentSettings, PPOSettings

shape = {"lookback": 60, "tokenization": "scalar", "fusion": "joint", "checkpointing": True}
encoder = BALANCED.model_copy(update=shape)
settings = AgentSettings(arm="ft_scratch", lookback=60, net_dimension=512, encoder=encoder)
agent = build_agent(settings, tickers=7, features=14, seed=0)
random = np.random.default_rng(0)
price = 100 * np.exp(np.cumsum(0.005 * random.standard_normal((300, 7)), axis=0))
env = VectorEnv(
    open_=price, close=price, tradable=np.ones(price.shape, dtype=bool), first=60, last=299,
    layout=Layout(timestamps=2, environments=2, steps=4, episode_bars=16),
    guards=Guards(), costs=Costs(), reward=Reward(), seed=0,
)
market = torch.randn(300, 7, 14, generator=torch.Generator().manual_seed(0))
history = train(agent, market=market, env=env, settings=PPOSettings(steps=16, batch_size=4, epochs=1), seed=0)
print(json.dumps({"steps": history[-1].steps, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
"""


@pytest.mark.slow
def test_one_small_update_over_5888_scalar_tokens_stays_within_4_gb():
    child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(child.stdout.splitlines()[-1])
    assert found["steps"] == 16
    assert found["peak_gb"] < 4.0, found
