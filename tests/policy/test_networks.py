"""Actor, critic and encoder: what reaches what, and what an index observation stands for."""

import pytest
import torch

from cappuccino_ml.policy.rollout import Encodings

ARMS = ["mlp", "ft_scratch"]


@pytest.fixture
def market():
    return torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def entries():
    return torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(1))


ROWS = torch.tensor([2, 39, 17, 17, 5, 30])


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("share", [True, False])
def test_index_observations_equal_materialised_windows(make_agent, market, arm, share):
    agent = make_agent(arm, features=3, share_encoder=share)
    actor_z, critic_z = agent.encode(market, ROWS)
    for index, row in enumerate(ROWS.tolist()):
        window = torch.stack([market[row - 2], market[row - 1], market[row]]).unsqueeze(0)
        torch.testing.assert_close(actor_z[index], agent.actor_encoder(window)[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(critic_z[index], agent.critic_encoder(window)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arm", ARMS)
def test_bars_after_the_row_or_before_the_window_do_not_matter(make_agent, market, arm):
    agent = make_agent(arm, features=3)
    changed = market.clone()
    changed[:15] = changed[18:] = torch.nan
    row = torch.tensor([17])
    assert torch.equal(agent.encode(market, row)[0], agent.encode(changed, row)[0])


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("share", [True, False])
def test_defect_19_encoder_enabled_is_really_in_actor_and_critic(make_agent, market, entries, arm, share):
    agent = make_agent(arm, features=3, share_encoder=share)

    def outputs():
        actor_z, critic_z = agent.encode(market, ROWS)
        return agent.mean_action(actor_z, entries), agent.value(critic_z, entries)

    is_transformer = type(agent.actor_encoder).__name__ == "FTTransformerEncoder"
    assert is_transformer is (arm != "mlp")
    assert (agent.actor_encoder is agent.critic_encoder) is share
    for name, parameter in agent.actor_encoder.named_parameters():
        if name.endswith("mask_token"):
            continue  # only a masked entry reads it, and PPO masks none
        action, value = outputs()
        with torch.no_grad():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=0.5)
        moved_action, moved_value = outputs()
        assert not torch.equal(action, moved_action), name
        assert torch.equal(value, moved_value) is not share, name
    for parameter in agent.critic_encoder.parameters():
        with torch.no_grad():
            parameter.mul_(1.3)
    assert not torch.equal(value, outputs()[1])


def test_sharing_halves_the_encoders_parameters(make_agent):
    def count(share):
        agent = make_agent("ft_scratch", share_encoder=share)
        encoder = sum(p.numel() for p in agent.encoder_parameters())
        return encoder, sum(p.numel() for p in agent.parameters()) - encoder

    (shared, rest), (apart, same_rest) = count(True), count(False)
    assert apart == 2 * shared
    assert rest == same_rest


@pytest.mark.parametrize("share", [True, False])
def test_a_frozen_table_equals_fresh_encodings(make_agent, market, share):
    agent = make_agent("ft_pretrained", features=3, freeze_encoder=True, share_encoder=share)
    encodings = Encodings(agent, market, first=2, last=39)
    for stored, fresh in zip(encodings(ROWS), agent.encode(market, ROWS), strict=True):
        torch.testing.assert_close(stored, fresh, atol=1e-5, rtol=1e-5)
        assert not stored.requires_grad


def test_a_fine_tuned_encoder_is_never_read_from_a_table(make_agent, market):
    agent = make_agent("ft_scratch", features=3)
    encodings = Encodings(agent, market, first=2, last=39)
    before = encodings(ROWS)[0]
    with torch.no_grad():
        agent.actor_encoder.head.bias += 1.0
    torch.testing.assert_close(encodings(ROWS)[0], before + 1.0)


@pytest.mark.parametrize("arm", ARMS)
def test_an_agents_weights_depend_on_its_seed_only(make_agent, arm):
    torch.manual_seed(5)
    one = weights_of(make_agent(arm, seed=3))
    state = torch.get_rng_state()
    two, other = weights_of(make_agent(arm, seed=3)), weights_of(make_agent(arm, seed=4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("arm", ARMS)
def test_an_untrained_policy_holds(make_agent, market, entries, arm):
    agent = make_agent(arm, features=3)
    assert agent.mean_action(agent.encode(market, ROWS)[0], entries).abs().max() < 0.1


def test_books_at_one_moment_are_told_apart_by_what_they_hold(make_agent, market, entries):
    agent = make_agent(features=3)
    _, critic_z = agent.encode(market, ROWS)
    whole = agent.value(critic_z, entries)
    assert whole.shape == (6, 4, 2)
    assert whole.std(1).min() > 0
    alone = torch.cat([agent.value(critic_z, entries[:, [book]]) for book in range(4)], dim=1)
    torch.testing.assert_close(whole, alone)
