"""Whole trainings on tiny markets: learning, determinism, and what training must never touch."""

import random as python_random
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save

from cappuccino_ml.core import CappuccinoError
from cappuccino_ml.environment import Costs, Guards, Layout, backtest
from cappuccino_ml.policy.ppo import train
from cappuccino_ml.policy.settings import PPOSettings

SHORT = PPOSettings(steps=2 * 96, learning_rate=1e-2, batch_size=32, epochs=2)


def weights_of(agent):
    return {name: value.clone() for name, value in agent.state_dict().items()}


def bytes_of(agent):
    return save({n: p.detach().clone() for n, p in agent.named_parameters()})


def trained(planted, agent, *, seed=0, settings=SHORT, env=None):
    history = train(agent, market=planted.features, env=env or planted.env(seed=seed), settings=settings, seed=seed)
    return agent, history


@pytest.mark.parametrize("arm", ["mlp", "ft_scratch"])
def test_two_trainings_with_one_seed_give_the_same_bytes_and_another_seed_others(make_planted, make_agent, arm):
    planted = make_planted()
    one, history = trained(planted, make_agent(arm), seed=1)
    np.random.seed(99)  # the global streams must not matter
    torch.manual_seed(99)
    python_random.seed(99)
    two, same_history = trained(planted, make_agent(arm), seed=1)
    other, _ = trained(planted, make_agent(arm), seed=2)
    assert bytes_of(one) == bytes_of(two)
    assert history == same_history
    assert bytes_of(one) != bytes_of(other)


@pytest.mark.parametrize("share", [True, False])
def test_fine_tuning_changes_the_encoders_weights_and_freezing_does_not(make_planted, make_agent, share):
    planted = make_planted()
    for frozen in (False, True):
        agent = make_agent("ft_pretrained", freeze_encoder=frozen, share_encoder=share)
        before = weights_of(agent)
        trained(planted, agent)
        after = weights_of(agent)
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        encoder = {n for n in before if "_encoder." in n and not n.endswith("mask_token")}
        assert changed & encoder == (set() if frozen else encoder)
        assert {n for n in before if n.startswith(("actor.", "critic."))} <= changed
        assert "log_std" in changed


def test_training_with_a_frozen_table_equals_training_with_fresh_encodings(make_planted, make_agent):
    planted = make_planted()
    table, _ = trained(planted, make_agent("ft_pretrained", freeze_encoder=True))
    fresh_agent = make_agent("ft_pretrained", freeze_encoder=True)
    # Its parameters stay frozen; only the table is off.
    fresh_agent.settings = fresh_agent.settings.model_copy(update={"freeze_encoder": False})
    trained(planted, fresh_agent)
    for (name, one), other in zip(table.named_parameters(), fresh_agent.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("arm", ["mlp", "ft_scratch"])
def test_training_never_touches_rows_beyond_its_own(make_planted, make_agent, arm):
    clean, poisoned = make_planted(), make_planted()
    poisoned.price[:100] = poisoned.price[301:] = np.nan
    poisoned.features[:98] = poisoned.features[301:] = torch.nan  # lookback 3: row 100 sees 98 and 99
    one, history = trained(clean, make_agent(arm), env=clean.env(first=100, last=300))
    two, same_history = trained(poisoned, make_agent(arm), env=poisoned.env(first=100, last=300))
    assert bytes_of(one) == bytes_of(two)
    assert history == same_history


def test_defect_06_steps_decide_not_wall_clock(make_planted, make_agent, monkeypatch):
    def looked_at(*_args):
        raise AssertionError("training looked at a clock")

    planted, agent = make_planted(), make_agent()
    env = planted.env()
    with monkeypatch.context() as patch:
        for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"):
            patch.setattr(time, name, looked_at)
        _, history = trained(planted, agent, env=env, settings=SHORT.model_copy(update={"steps": 500}))
    assert [report.steps for report in history] == [96, 192, 288, 384, 480, 576]


def test_progress_is_told_after_every_update(make_planted, make_agent):
    planted, told = make_planted(), []
    history = train(
        make_agent(), market=planted.features, env=planted.env(), settings=SHORT, seed=0, on_iteration=told.append
    )
    assert told == history
    assert all(0 <= report.saturation <= 1 and report.turnover > 0 for report in history)


@pytest.mark.parametrize("arm", ["mlp", "ft_scratch"])
def test_a_planted_market_is_learned(make_planted, make_agent, arm):
    planted, costs, guards = make_planted(bars=1200), Costs(fee_bps=1), Guards(max_step=0.3)
    layout = Layout(timestamps=8, environments=8, steps=16, episode_bars=64)
    env = planted.env(first=5, last=800, layout=layout, guards=guards, costs=costs)
    agent = make_agent(arm)
    settings = PPOSettings(steps=20 * layout.samples, learning_rate=3e-3, batch_size=256, epochs=4)
    _, history = trained(planted, agent, env=env, settings=settings)

    held = torch.tensor([[[0.4, 0.3, 0.3]]])
    for first, second in [(1.0, -1.0), (-1.0, 1.0), (1.0, 1.0), (-1.0, -1.0)]:
        window = torch.tensor([[first], [second]]).expand(1, 3, 2, 1)
        mean = agent.mean_action(agent.actor_encoder(window), held)[0, 0]
        assert mean.sign().tolist() == [first, second]

    def act(t, entries):
        with torch.no_grad():
            encoding, _ = agent.encode(planted.features, torch.tensor([t]))
            return agent.mean_action(encoding, torch.from_numpy(entries).view(1, 1, -1))[0, 0].double().numpy()

    unseen = backtest(act=act, first=810, last=1190, guards=guards, costs=costs, **planted.arrays())
    index = (planted.price[1190] / planted.price[810]).mean()
    assert unseen.equity[-1] / unseen.equity[0] > 1.2 * max(1.0, index)
    assert np.mean([r.reward_bps for r in history[-3:]]) > np.mean([r.reward_bps for r in history[:3]]) + 5


def test_a_learning_rate_that_breaks_the_policy_is_a_clear_error(make_planted, make_agent):
    wild = SHORT.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(CappuccinoError, match=r"PPO's loss is .* with learning_rate 1e\+30; lower it"):
        trained(make_planted(), make_agent(), settings=wild)


def test_a_first_window_that_would_start_before_the_data_is_refused(make_planted, make_agent):
    planted = make_planted()
    with pytest.raises(CappuccinoError, match="row 1, the first of training, has no 3 bars up to it"):
        trained(planted, make_agent(), env=planted.env(first=1))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_prices_that_stand_still_or_are_not_numbers_are_refused(make_planted, make_agent, value):
    planted = make_planted()
    planted.price[:] = 100.0 + value
    with pytest.raises(CappuccinoError, match=r"the volatility of rows 5 to 395 is (0\.0|nan); check their prices"):
        trained(planted, make_agent(), env=planted.env())


@pytest.mark.parametrize("name", sorted(PPOSettings.model_fields))
def test_every_training_parameter_is_read(make_planted, make_agent, name):
    settings = SHORT.model_copy(update={"max_kl": 1.0, "max_grad_norm": 0.1})
    value = getattr(settings, name)
    other = (not value) if isinstance(value, bool) else value * 2 if isinstance(value, int) else value / 2 or 0.1
    other = 1e-6 if name == "max_kl" else other
    changed = PPOSettings.model_validate(settings.model_copy(update={name: other}).model_dump())
    planted = make_planted()
    runs = [bytes_of(trained(planted, make_agent("ft_scratch"), settings=s)[0]) for s in (settings, changed)]
    assert runs[0] != runs[1]


def test_dropout_is_off_in_training_whatever_mode_the_agent_came_in(make_planted, make_agent):
    planted = make_planted()
    evaluating, training = make_agent("ft_scratch"), make_agent("ft_scratch").train()
    assert training.actor_encoder.settings.dropout > 0
    assert bytes_of(trained(planted, evaluating)[0]) == bytes_of(trained(planted, training)[0])


def test_learning_rates_fall_to_zero_along_the_steps_and_the_encoders_is_its_share(
    make_planted, make_agent, monkeypatch
):
    seen, step = [], torch.optim.AdamW.step

    def recorder(self, *args, **kwargs):
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorder)
    settings = SHORT.model_copy(update={"steps": 4 * 96, "epochs": 1, "batch_size": 96, "learning_rate": 4e-3})
    trained(make_planted(), make_agent("ft_scratch"), settings=settings)
    np.testing.assert_allclose([head for head, _ in seen], [4e-3, 3e-3, 2e-3, 1e-3])
    np.testing.assert_allclose(
        [encoder for _, encoder in seen], settings.encoder_learning_rate_ratio * np.array([4e-3, 3e-3, 2e-3, 1e-3])
    )
