"""Many books at once: where they go, what they are paid, and that nothing is left over."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cappuccino_ml.core import CappuccinoError
from cappuccino_ml.environment import Costs, Guards, Layout, Reward, VectorEnv

LAYOUT = Layout(timestamps=4, environments=4, steps=8, episode_bars=16)
BOOKS, TICKERS = LAYOUT.books, 3


def make_env(market, *, seed=0, first=20, last=60, layout=LAYOUT, **options) -> VectorEnv:
    parts = {"guards": Guards(max_drawdown=0.99), "costs": Costs(), "reward": Reward(), **options}
    return VectorEnv(layout=layout, first=first, last=last, seed=seed, **parts, **market.arrays())


def play(env, rollouts, act):
    """Rows that `begin_rollout` announced and the steps that followed."""
    rows, steps = [], []
    for _ in range(rollouts):
        rows.append(env.begin_rollout())
        for _ in range(env.layout.steps):
            before, peak = env.book.equity(env._per_book(env._close[env.t])), env.book.peak
            assert (peak >= before - 1e-6).all()
            at = env.t
            outcome = env.step(act(env))
            steps.append((at, before, outcome, env.book.equity(env._per_book(env._close[env.t]))))
    return rows, steps


def noise(seed=0):
    random = torch.Generator().manual_seed(seed)
    return lambda env: 2 * torch.randn(env.layout.books, TICKERS, generator=random)


def test_defect_01_no_episode_crosses_a_splice(make_market):
    market = make_market(seed=0, bars=100, filled=0.0)
    for prices in (market.open, market.close):
        prices[:20] = prices[61:] = np.nan  # the neighbouring folds: one look at them is not a number
    env = make_env(market)
    rows, steps = play(env, 50, noise())
    assert min(int(r.min()) for r in rows) == 20
    assert max(int(r.max()) for r in rows) == 60
    assert all(torch.isfinite(outcome.reward).all() for _, _, outcome, _ in steps)
    assert np.isfinite(env.market_volatility())
    assert all(torch.isfinite(env.discounted_returns(r, discount=0.9)).all() for r in rows)


def test_rows_are_announced_before_the_rollout_and_then_visited(make_market):
    rows, steps = play(make_env(make_market(seed=0)), 6, noise())
    announced = torch.cat([r[:-1] for r in rows])
    assert torch.equal(announced, torch.stack([at for at, *_ in steps]))
    assert (torch.stack(rows).diff(dim=1) == 1).all()


def test_defect_13_vector_environments_differ(make_market):
    env = make_env(make_market(seed=0, bars=2000), last=1900)
    rows = env.begin_rollout()
    assert len(set(rows[0].tolist())) == LAYOUT.timestamps
    same_action = torch.full((BOOKS, TICKERS), 0.5)
    for _ in range(LAYOUT.steps):
        outcome = env.step(same_action)
    equity = env.book.equity(env._per_book(env._close[env.t]))
    distinct = len({round(e, 6) for e in equity.tolist()})
    # In every group two books start in cash, so they agree as long as their actions do; the others hold something.
    assert distinct == LAYOUT.timestamps * (LAYOUT.environments // 2 + 1)
    assert outcome.reward.std() > 0


def test_another_seed_starts_elsewhere_and_the_same_seed_in_the_same_place(make_market):
    market = make_market(seed=0, bars=2000)
    one, two, other = (make_env(market, last=1900, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.begin_rollout(), two.begin_rollout())
    assert torch.equal(one.book.units, two.book.units)
    assert not torch.equal(one.begin_rollout(), other.begin_rollout())


def test_defect_11_reset_restores_everything(make_market):
    market = make_market(seed=1, volatility=0.01, filled=0.0)
    risky = Guards(max_drawdown=0.99, stop_loss=0.01, trailing_stop=0.01, cooldown_bars=5)
    lived, rested = (make_env(market, guards=risky) for _ in range(2))
    play(lived, 4, noise(1))
    play(rested, 4, lambda env: torch.zeros(BOOKS, TICKERS))
    lived.book.halted = torch.ones(BOOKS, dtype=torch.bool)
    assert not torch.equal(lived.book.cash, rested.book.cash)
    for env in (lived, rested):
        env._rollouts_left.zero_()
    assert torch.equal(lived.begin_rollout(), rested.begin_rollout())
    for name in ("cash", "units", "peak", "worst", "halted"):
        assert torch.equal(getattr(lived.book, name), getattr(rested.book, name)), name
    for name in ("entry", "high", "bars", "cooldown", "stopped"):
        assert torch.equal(getattr(lived.book.positions, name), getattr(rested.book.positions, name)), name
    assert not lived.book.positions.stopped.any()
    assert torch.equal(lived.book.positions.bars, (lived.book.units > 0).double())
    assert not lived.book.halted.any()
    close = lived._per_book(lived._close[lived.t])
    torch.testing.assert_close(lived.book.equity(close), torch.full((BOOKS,), 1e5, dtype=torch.float64))
    torch.testing.assert_close(lived.book.peak, torch.full((BOOKS,), 1e5, dtype=torch.float64))


def test_defect_11_reset_makes_it_as_new(make_market):
    market = make_market(seed=1)
    fresh = make_env(market, seed=3)
    lived = make_env(market, seed=4)
    play(lived, 3, noise(1))
    lived.reset(seed=3)
    for _ in range(4):
        assert torch.equal(fresh.begin_rollout(), lived.begin_rollout())
        for action in torch.randn(LAYOUT.steps, BOOKS, TICKERS, generator=torch.Generator().manual_seed(0)):
            assert torch.equal(fresh.step(action).reward, lived.step(action).reward)
            assert torch.equal(fresh.entries(), lived.entries())


def test_what_a_book_holds_stays_in_the_quick_memory_layout(make_market):
    """Not a promise about numbers: one operation that mixes layouts makes all that follow several times slower."""
    env = make_env(make_market(seed=1), guards=Guards(max_drawdown=0.01, stop_loss=0.01))
    play(env, 3, noise(1))
    positions = env.book.positions
    held = [positions.entry, positions.high, positions.bars, positions.cooldown, positions.stopped]
    assert {x.stride() for x in [env.book.units, *held]} == {(1, BOOKS)}


def test_an_episode_lasts_its_bars_and_groups_end_at_different_rollouts(make_market):
    rows, _ = play(make_env(make_market(seed=0, bars=2000), last=1900), 9, noise())
    jumps = torch.stack([later[0] != former[-1] for former, later in pairwise(rows)])
    assert jumps.sum(0).tolist() == [4, 4, 4, 4]
    assert 0 < jumps[0].sum() < LAYOUT.timestamps


def test_a_halt_ends_the_episode_because_a_halted_book_looks_like_any_other_in_cash(make_market):
    env = make_env(make_market(seed=1, volatility=0.1, filled=0.0), guards=Guards(max_drawdown=0.05))
    env.begin_rollout()
    ended = torch.zeros(BOOKS, dtype=torch.bool)
    for _ in range(LAYOUT.steps):
        ended |= env.step(torch.ones(BOOKS, TICKERS)).terminated
        assert not env.book.halted.any()
    assert ended.any()


def test_ruin_terminates_only_the_ruined_book_and_gives_it_a_fresh_account(make_market):
    market = make_market(seed=0, volatility=0.0, gap=0.0, filled=0.0)
    prices = market.close.copy()
    prices[:, 0] *= np.exp(-1.0 * np.arange(len(prices)))
    crash = type(market)(open=np.vstack([prices[:1], prices[:-1]]), close=prices, tradable=market.tradable)
    env = make_env(
        crash, guards=Guards(max_step=1, max_weight=1, min_cash=0, max_drawdown=0.99), costs=Costs(fee_bps=0)
    )
    env.begin_rollout()
    action = torch.zeros(BOOKS, TICKERS)
    action[0, 0] = 1.0
    ended = []
    for _ in range(LAYOUT.steps):
        outcome = env.step(action)
        ended.append(outcome.terminated.clone())
        assert torch.isfinite(outcome.reward).all()
        if outcome.terminated[0]:
            close = env._per_book(env._close[env.t])
            assert float(env.book.equity(close)[0]) == pytest.approx(1e5)
            assert not env.book.halted[0]
    ruined = torch.stack(ended)
    assert int(ruined[:, 0].nonzero()[0]) == 2  # exp(-3) of the capital is below 5%: the third step
    assert not ruined[:, 2].any()


def worst_drawdown(path):
    """Log-return from the highest equity to the lowest after it, [B], >= 0."""
    path = torch.stack(path)
    return torch.log(path.cummax(0).values / path).amax(0)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 20),
    benchmark=st.sampled_from(["none", "equal_weight"]),
    turnover=st.floats(0, 0.1),
    concentration=st.floats(0, 0.1),
    drawdown=st.sampled_from([0.0, 0.5]),
)
def test_per_ticker_rewards_sum_to_the_log_return_less_benchmark_and_penalties(
    make_market, seed, benchmark, turnover, concentration, drawdown
):
    terms = Reward(
        benchmark=benchmark,
        turnover_penalty=turnover,
        concentration_penalty=concentration,
        drawdown_penalty=drawdown,
    )
    market = make_market(seed=seed)
    env = make_env(market, reward=terms)
    env.begin_rollout()
    act = noise(seed)
    path = [env.book.equity(env._per_book(env._close[env.t]))]
    for _ in range(LAYOUT.steps):
        rows = env.t.numpy().repeat(LAYOUT.environments)
        before = env.book.equity(env._per_book(env._close[env.t]))
        outcome = env.step(act(env))
        value = env.book.units * env._per_book(env._close[env.t])
        after = env.book.cash + value.sum(-1)
        path.append(after)
        expected = torch.log(after / before) - turnover * outcome.turnover.sum(-1)
        expected -= concentration * (value / after.unsqueeze(-1)).square().sum(-1)
        expected -= drawdown * (worst_drawdown(path) - worst_drawdown(path[:-1]))
        if benchmark == "equal_weight":
            expected -= torch.from_numpy(np.log((market.close[rows + 1] / market.close[rows]).mean(-1)))
        torch.testing.assert_close(outcome.reward.sum(-1), expected, rtol=1e-9, atol=1e-12)


def test_a_tickers_reward_is_its_own(make_market):
    market = make_market(seed=3, filled=0.0)
    env = make_env(market)
    env.begin_rollout()
    action = torch.zeros(BOOKS, TICKERS)
    action[:, 1] = 1.0
    outcome = env.step(action)
    in_cash = outcome.reward[::2]
    assert (in_cash[:, 1] != 0).all()
    assert not in_cash[:, [0, 2]].any()


def test_a_book_that_does_nothing_in_cash_is_paid_nothing(make_market):
    env = make_env(make_market(seed=3))
    env.begin_rollout()
    outcome = env.step(torch.zeros(BOOKS, TICKERS))
    assert not outcome.reward[::2].any()
    assert not outcome.turnover.any()


def test_entries_are_the_cash_share_and_weights_whatever_the_prices(make_market):
    market = make_market(seed=3)
    dear = type(market)(open=market.open * 8, close=market.close * 8, tradable=market.tradable)
    one, other = make_env(market), make_env(dear)
    assert one.entries().shape == (BOOKS, 1 + TICKERS)
    torch.testing.assert_close(one.entries().sum(-1), torch.ones(BOOKS))
    torch.testing.assert_close(one.entries(), other.entries())
    assert (one.entries()[:, 1:] <= one.guards.max_weight).all()
    assert (one.entries()[:, 0] >= one.guards.min_cash - 1e-6).all()


def test_discounted_returns_equal_a_plain_loop_and_no_book_can_change_them(make_market):
    market = make_market(seed=4)
    env = make_env(market)
    rows = env.begin_rollout()
    ahead = env.discounted_returns(rows, discount=0.8)
    expected = np.zeros((LAYOUT.steps, LAYOUT.timestamps, TICKERS))
    for step in range(LAYOUT.steps):
        for group in range(LAYOUT.timestamps):
            for later in range(step, LAYOUT.steps):
                t = int(rows[later, group])
                expected[step, group] += 0.8 ** (later - step) * (market.close[t + 1] / market.close[t] - 1)
    np.testing.assert_allclose(ahead.numpy(), expected, atol=1e-6)
    env.step(noise()(env))
    assert torch.equal(ahead, env.discounted_returns(rows, discount=0.8))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused_before_anything_changes(make_market, bad):
    env = make_env(make_market(seed=0))
    env.begin_rollout()
    cash, t = env.book.cash.clone(), env.t.clone()
    action = torch.zeros(BOOKS, TICKERS)
    action[3, 1] = bad
    with pytest.raises(CappuccinoError, match=r"NaN or infinite.*lower learning_rate"):
        env.step(action)
    assert torch.equal(env.book.cash, cash)
    assert torch.equal(env.t, t)


@pytest.mark.parametrize(("first", "last", "message"), [
    (50, 60, "rows 50..60 are fewer than one episode of 16 bars"),
    (-1, 60, "rows -1..60 do not fit data of 64 rows"),
    (20, 64, "rows 20..64 do not fit data of 64 rows"),
])  # fmt: skip
def test_a_span_that_cannot_hold_an_episode_is_refused(make_market, first, last, message):
    with pytest.raises(ValueError, match=message):
        make_env(make_market(seed=0), first=first, last=last)


def test_layout_refuses_episodes_of_broken_rollouts_and_counts_what_it_holds():
    with pytest.raises(ValidationError, match="episode_bars 100 is not a multiple of steps 64"):
        Layout(steps=64, episode_bars=100)
    with pytest.raises(ValidationError, match="timestamps"):
        Layout(timestamps=0)
    with pytest.raises(ValidationError, match="extra"):
        Layout(workers=3)
    assert (LAYOUT.books, LAYOUT.samples) == (16, 128)
