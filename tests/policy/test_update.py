"""One rollout and its update: the fast path against the plain one, and baselines that change no expectation."""

from dataclasses import replace

import pytest
import torch

from cappuccino_ml.core import CappuccinoError
from cappuccino_ml.environment import Layout
from cappuccino_ml.policy.ppo import update
from cappuccino_ml.policy.rollout import Encodings, collect, log_probability
from cappuccino_ml.policy.settings import PPOSettings

ONE_STEP = PPOSettings(epochs=1, batch_size=10**9, max_grad_norm=1e9)
ARMS = [("mlp", True), ("mlp", False), ("ft_scratch", True), ("ft_scratch", False)]


class Recorder:
    """An optimizer that keeps the gradients it is given and changes nothing."""

    def __init__(self, agent):
        self.agent = agent

    def zero_grad(self, set_to_none):
        self.agent.zero_grad(set_to_none=set_to_none)

    def step(self):
        self.gradients = {n: p.grad.clone() for n, p in self.agent.named_parameters() if p.grad is not None}


def rollout_of(planted, agent, *, settings=ONE_STEP, seed=0, **options):
    env = planted.env(seed=seed, **options)
    encodings = Encodings(agent, planted.features, first=env.first, last=env.last)
    random = torch.Generator().manual_seed(seed)
    return encodings, collect(agent, encodings, env, settings, reward_scale=1 / env.market_volatility(), random=random)


def per_sample_loss(agent, market, rollout, settings):
    """PPO's loss with every sample encoding its own copy of its window and no book sharing anything."""
    moments, books, _ = rollout.action.shape
    rows = rollout.rows.repeat_interleave(books)
    window = torch.stack([market[rows - 2], market[rows - 1], market[rows]], dim=1)  # [M * E, L, N, F]
    entries = rollout.entries.flatten(0, 1).unsqueeze(1)
    mean = agent.mean_action(agent.actor_encoder(window), entries).squeeze(1)
    value = agent.value(agent.critic_encoder(window), entries).squeeze(1)
    normal = torch.distributions.Normal(mean, agent.log_std.exp())
    ratio = (normal.log_prob(rollout.action.flatten(0, 1)) - rollout.log_prob.flatten(0, 1)).exp()
    advantage = (rollout.advantage - rollout.advantage.mean(1, keepdim=True)).flatten(0, 1)
    advantage = (advantage - advantage.mean()) / advantage.std(correction=0)
    clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
    policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
    value_loss = 0.5 * ((value - rollout.target.flatten(0, 1)) ** 2).mean()
    loss = policy_loss + settings.value_weight * value_loss - settings.entropy * normal.entropy()[0].sum()
    return mean.unflatten(0, (moments, books)), loss


@pytest.mark.parametrize(("arm", "share"), ARMS)
def test_encoding_a_moment_once_equals_encoding_every_sample(make_planted, make_agent, monkeypatch, arm, share):
    planted, agent = make_planted(), make_agent(arm, share_encoder=share)
    encodings, rollout = rollout_of(planted, agent)
    with torch.no_grad():  # away from ratio 1, so that the clip and the density count
        for parameter in agent.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.03)
    losses, backward = [], torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: (losses.append(self.detach()), backward(self)))
    recorder = Recorder(agent)
    _, clipfrac = update(agent, encodings, rollout, recorder, ONE_STEP, random=torch.Generator())
    agent.zero_grad()
    mean, loss = per_sample_loss(agent, planted.features, rollout, ONE_STEP)
    backward(loss)

    fast = agent.mean_action(encodings(rollout.rows)[0], rollout.entries)
    torch.testing.assert_close(fast, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(losses[0], loss.detach(), atol=1e-5, rtol=1e-5)
    assert 0 < clipfrac < 1
    gradients = {n: p.grad for n, p in agent.named_parameters() if p.grad is not None}
    assert set(gradients) == set(recorder.gradients)
    assert any(n.startswith("actor_encoder") for n in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(recorder.gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(("arm", "share"), ARMS)
def test_the_ratio_is_one_before_the_first_step(make_planted, make_agent, arm, share):
    agent = make_agent(arm, share_encoder=share)
    agent.eval()
    encodings, rollout = rollout_of(make_planted(), agent)
    mean = agent.mean_action(encodings(rollout.rows)[0], rollout.entries)
    ratio = (log_probability(rollout.action, mean, agent.log_std) - rollout.log_prob).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)
    approx_kl, clipfrac = update(agent, encodings, rollout, Recorder(agent), ONE_STEP, random=torch.Generator())
    assert abs(approx_kl) < 1e-6
    assert clipfrac == 0


def test_log_probability_is_the_gaussians():
    random = torch.Generator().manual_seed(0)
    action, mean, log_std = (torch.randn(5, 3, generator=random) for _ in range(3))
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(action)
    torch.testing.assert_close(log_probability(action, mean, log_std), expected)


def test_a_rollout_keeps_each_sample_beside_its_own_moment_and_book(make_planted, make_agent):
    planted, agent = make_planted(), make_agent()
    _, rollout = rollout_of(planted, agent)
    env = planted.env()
    rows = env.begin_rollout()
    assert torch.equal(rollout.rows, rows[:-1].flatten())
    groups, books = env.layout.timestamps, env.layout.environments
    for step in range(env.layout.steps):
        moments = slice(step * groups, (step + 1) * groups)
        assert torch.equal(rollout.entries[moments], env.entries().view(groups, books, -1))
        outcome = env.step(rollout.action[moments].flatten(0, 1))
        assert torch.equal(rollout.reward[moments].flatten(0, 1), outcome.reward)
        assert torch.equal(rollout.turnover[moments].flatten(0, 1), outcome.turnover)


def test_the_exogenous_baseline_is_what_the_holdings_earn_and_leaves_the_critics_targets(make_planted, make_agent):
    planted, agent = make_planted(), make_agent()
    settings = ONE_STEP.model_copy(update={"exogenous_baseline": True})
    _, with_it = rollout_of(planted, agent, settings=settings)
    _, without = rollout_of(planted, agent, settings=settings.model_copy(update={"exogenous_baseline": False}))
    assert torch.equal(with_it.action, without.action)
    assert torch.equal(with_it.target, without.target)
    env = planted.env()
    rows, scale, decay = env.begin_rollout(), 1 / env.market_volatility(), settings.gamma * settings.gae_lambda
    luck = scale * env.discounted_returns(rows, discount=decay).flatten(0, 1).unsqueeze(1)
    torch.testing.assert_close(
        without.advantage - with_it.advantage, with_it.entries[:, :, 1:] * luck, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("baseline", ["exogenous", "moment"])
def test_a_baseline_leaves_the_expected_gradient_unchanged(make_planted, make_agent, baseline):
    """The score, action - mean, is the policy gradient's random factor: what a baseline subtracts must not follow it.

    The mean over books of a moment holds a book's own advantage too, so that one scales the gradient by 1 - 1 / E.
    """
    planted, agent = make_planted(bars=4100), make_agent()
    layout = Layout(timestamps=400, environments=4, steps=8, episode_bars=16)
    off = ONE_STEP.model_copy(update={"exogenous_baseline": False})
    on = off.model_copy(update={"exogenous_baseline": True})
    encodings, plain = rollout_of(planted, agent, settings=off, layout=layout, last=4090)
    with torch.no_grad():
        score = plain.action - agent.mean_action(encodings(plain.rows)[0], plain.entries)
    if baseline == "exogenous":
        _, based = rollout_of(planted, agent, settings=on, layout=layout, last=4090)
        subtracted = plain.advantage - based.advantage
    else:
        own_share = plain.advantage / layout.environments
        subtracted = plain.advantage.mean(1, keepdim=True) - own_share

    def standard_errors_from_zero(gradient):
        per_group = gradient.unflatten(0, (layout.steps, layout.timestamps)).mean((0, 2, 3))
        return abs(float(per_group.mean() / per_group.std())) * layout.timestamps**0.5

    assert subtracted.abs().max() > 0.1
    assert standard_errors_from_zero(score * subtracted) < 4
    assert standard_errors_from_zero(score * (subtracted + 0.2 * score)) > 4  # one that follows the action is seen


def test_baselines_make_the_gradient_less_noisy(make_planted, make_agent):
    planted, agent = make_planted(), make_agent()
    off = ONE_STEP.model_copy(update={"exogenous_baseline": False})
    _, plain = rollout_of(planted, agent, settings=off)
    _, based = rollout_of(planted, agent, settings=off.model_copy(update={"exogenous_baseline": True}))
    assert based.advantage.var() < plain.advantage.var()


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_way_out(make_planted, make_agent):
    agent = make_agent()
    encodings, rollout = rollout_of(make_planted(), agent)
    before = {n: p.clone() for n, p in agent.named_parameters()}
    broken = replace(rollout, target=rollout.target * torch.inf)
    optimizer = torch.optim.AdamW(agent.parameters(), lr=1e-3)
    with pytest.raises(CappuccinoError, match=r"PPO's loss is (nan|inf).*learning_rate 0.0003; lower it"):
        update(agent, encodings, broken, optimizer, ONE_STEP, random=torch.Generator())
    assert all(torch.equal(before[n], p) for n, p in agent.named_parameters())


def test_epochs_stop_once_the_policy_has_moved_far_enough(make_planted, make_agent):
    def steps_taken(max_kl):
        agent = make_agent()
        encodings, rollout = rollout_of(make_planted(), agent)
        recorder = torch.optim.AdamW(agent.parameters(), lr=0.02)
        settings = PPOSettings(epochs=6, batch_size=10**9, max_kl=max_kl)
        update(agent, encodings, rollout, recorder, settings, random=torch.Generator())
        return int(recorder.state[agent.log_std]["step"])

    assert steps_taken(1e9) == 6
    assert steps_taken(1e-4) < 6


def test_a_minibatch_of_one_sample_is_a_finite_loss(make_planted, make_agent):
    planted, agent = make_planted(tickers=1), make_agent(tickers=1)
    encodings, rollout = rollout_of(
        planted, agent, layout=Layout(timestamps=1, environments=1, steps=8, episode_bars=8)
    )
    optimizer = torch.optim.AdamW(agent.parameters(), lr=1e-3)
    update(agent, encodings, rollout, optimizer, PPOSettings(batch_size=1, epochs=1), random=torch.Generator())
