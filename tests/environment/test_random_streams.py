"""What is random in many books at once: a stream for each group and each book, whatever the others do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.environment import Costs, Guards, Layout, Reward, VectorEnv

LAYOUT = Layout(timestamps=4, environments=4, steps=8, episode_bars=16)
BOOKS = LAYOUT.books


def make_env(market, *, seed=0, last=60, layout=LAYOUT) -> VectorEnv:
    parts = {"guards": Guards(max_drawdown=0.99), "costs": Costs(), "reward": Reward()}
    return VectorEnv(layout=layout, first=20, last=last, seed=seed, **parts, **market.arrays())


def play(env, rollouts):
    """Actions without sense -> the rows of the last rollout."""
    for _ in range(rollouts):
        rows = env.begin_rollout()
        for _ in range(env.layout.steps):
            env.step(torch.sin(17.0 * torch.arange(3.0 * BOOKS) + env.t.sum()).view(BOOKS, 3))
    return rows


def opening(env, group, *, books=4):
    """First row of a group, and what its first books then hold."""
    first = group * env.layout.environments
    return int(env.t[group]), env.book.units[first : first + books].clone()


@pytest.mark.parametrize("wider", [
    LAYOUT.model_copy(update={"timestamps": 9}),
    LAYOUT.model_copy(update={"environments": 12}),
])  # fmt: skip
def test_what_a_group_draws_does_not_depend_on_how_many_others_there_are(make_market, wider):
    market = make_market(seed=0, bars=2000)
    alone, among = (make_env(market, last=1900, seed=5, layout=layout) for layout in (LAYOUT, wider))
    for _ in range(3):
        for group in range(LAYOUT.timestamps):
            (row, units), (same_row, same_units) = opening(alone, group), opening(among, group)
            assert row == same_row
            assert torch.equal(units, same_units)
            assert units.any()
        for env in (alone, among):
            env._restart(torch.ones(env.layout.timestamps, dtype=torch.bool))


@settings(max_examples=20)
@given(order=st.permutations(range(4)))
def test_what_a_group_draws_does_not_depend_on_which_ended_first(make_market, order):
    market = make_market(seed=0, bars=2000)
    together, one_by_one = (make_env(market, last=1900, seed=5) for _ in range(2))
    together._restart(torch.ones(4, dtype=torch.bool))
    for group in order:
        one_by_one._restart(torch.arange(4) == group)
    assert torch.equal(together.t, one_by_one.t)
    assert torch.equal(together.book.units, one_by_one.book.units)


def test_a_books_fresh_account_does_not_depend_on_which_others_were_ruined(make_market):
    alone, among = (make_env(make_market(seed=0)) for _ in range(2))
    for env, ruined in ((alone, [5]), (among, [1, 3, 5, 15])):
        env._fresh(torch.isin(torch.arange(BOOKS), torch.tensor(ruined)))
    assert torch.equal(alone.book.units[5], among.book.units[5])
    assert not torch.equal(alone.book.units[1], among.book.units[1])


def test_no_two_books_and_no_two_accounts_of_a_book_hold_the_same(make_market):
    env = make_env(make_market(seed=0))
    held = []
    for _ in range(3):
        held += env.entries()[1::2].tolist()
        env._fresh(torch.ones(BOOKS, dtype=torch.bool))
    assert len({tuple(weights) for weights in held}) == 3 * BOOKS // 2


def test_a_restored_environment_goes_on_drawing_what_the_saved_one_would_have_drawn(make_market):
    market = make_market(seed=1)
    saved, restored = make_env(market, seed=3), make_env(market, seed=4)
    play(saved, 3)
    restored.restore(saved.state())
    for _ in range(6):
        assert torch.equal(*(play(env, 1) for env in (saved, restored)))
    for name, value in saved.state().items():
        assert torch.equal(value, restored.state()[name]), name
