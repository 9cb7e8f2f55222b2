"""Books, rollouts and updates live on the device that was asked for; what is drawn does not depend on it."""

import pytest
import torch
from safetensors.torch import save

from cappuccino_ml.environment import Costs, Guards, Layout, Reward
from cappuccino_ml.policy.ppo import train
from cappuccino_ml.policy.settings import PPOSettings

RULES = {
    "guards": Guards(stop_loss=0.05, trailing_stop=0.05, cooldown_bars=2, min_holding_bars=2, max_drawdown=0.3),
    "costs": Costs(fee_bps=1, increment=(0.001, 0.002), min_notional=(1.0, 2.0)),
    "reward": Reward(benchmark="equal_weight", turnover_penalty=0.1, concentration_penalty=0.01, drawdown_penalty=0.5),
    "layout": Layout(timestamps=3, environments=4, steps=8, episode_bars=16),
}
SETTINGS = PPOSettings(steps=3 * 96, learning_rate=1e-2, batch_size=32, epochs=2)


def trained(planted, agent, device):
    device = torch.device(device)
    env = planted.env(device=device, **RULES)
    history = train(agent.to(device), market=planted.features.to(device), env=env, settings=SETTINGS, seed=3)
    return save({name: value.detach().cpu().clone() for name, value in agent.named_parameters()}), history


@pytest.mark.parametrize("arm", ["mlp", "ft_pretrained"])
def test_no_tensor_of_a_training_is_made_on_another_device_than_its_own(make_planted, make_agent, arm):
    # Where torch would make everything elsewhere by default, a tensor that names no device cannot meet the others.
    planted, options = make_planted(), {"freeze_encoder": arm != "mlp"}
    expected = trained(planted, make_agent(arm, **options), "cpu")
    agent = make_agent(arm, **options)
    with torch.device("meta"):
        found = trained(planted, agent, "cpu")
    assert found == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_trains_as_the_cpu_does_but_for_rounding(make_planted, make_agent):
    planted = make_planted()
    _, expected = trained(planted, make_agent("ft_scratch"), "cpu")
    _, found = trained(planted, make_agent("ft_scratch"), "cuda")
    assert [line.steps for line in found] == [line.steps for line in expected]
    assert found[0].reward_bps == pytest.approx(expected[0].reward_bps, rel=1e-3)
