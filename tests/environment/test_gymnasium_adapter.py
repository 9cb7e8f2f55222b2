"""Gymnasium's own checker, Stable-Baselines3's, and a short training run: other people's agents fit unchanged."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from cappuccino_ml.core import CappuccinoError
from cappuccino_ml.environment import Costs, Episodes, Guards, Layout, Reward, VectorEnv

gymnasium = pytest.importorskip("gymnasium", exc_type=ImportError)
from cappuccino_ml.environment.gymnasium_adapter import MarketEnv, MarketVectorEnv  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TICKERS, FEATURES = 7, 14


@pytest.fixture(scope="module")
def market(make_market):
    return make_market(seed=0, bars=300, tickers=TICKERS)


def episodes(market, **settings) -> Episodes:
    features = np.random.default_rng(0).standard_normal((300, TICKERS, FEATURES)).astype(np.float32)
    settings = {"first": 20, "last": 280, "episode_bars": 30, **settings}
    return Episodes(features=features, **settings, **market.arrays())


def check(checker, env) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Both like boxes with bounds; market features have none.
        for harmless in (".*not having a spec.*", ".*[Ii]nfinity.*", ".*not within the.*bounds.*", ".*normalize.*"):
            warnings.filterwarnings("ignore", message=harmless)
        checker(env)


@pytest.mark.parametrize("random_holdings", [False, True])
def test_gymnasiums_checker_passes_the_single_environment(market, random_holdings):
    from gymnasium.utils.env_checker import check_env

    check(check_env, MarketEnv(episodes(market, random_holdings=random_holdings)))


@pytest.mark.parametrize(("lookback", "width"), [(3, 302), (10, 988), (60, 5888)])
def test_an_observation_is_cash_weights_then_features_by_tickers_by_lookback(market, lookback, width):
    run = episodes(market, lookback=lookback, first=100)
    env = MarketEnv(run)
    seen, info = env.reset(seed=3)
    assert seen.shape == env.observation_space.shape == (width,)
    assert seen[0] == 1.0
    assert not seen[1:8].any()
    features = np.random.default_rng(0).standard_normal((300, TICKERS, FEATURES)).astype(np.float32)
    window = features[info["row"] + 1 - lookback : info["row"] + 1]
    np.testing.assert_array_equal(seen[8:].reshape(FEATURES, TICKERS, lookback), window.transpose(2, 1, 0))
    seen = env.step(np.full(TICKERS, 0.5, dtype=np.float32))[0]
    assert seen[:8].sum() == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_episode_and_another_one_another(market):
    env = MarketEnv(episodes(market))
    rows = [env.reset(seed=seed)[1]["row"] for seed in (1, 1, 2, 3, 4)]
    assert rows[0] == rows[1]
    assert len(set(rows)) > 2
    assert len({env.reset()[1]["row"] for _ in range(20)}) > 5  # without a seed the stream goes on


def test_time_truncates_and_a_drawdown_halt_terminates(market):
    env = MarketEnv(episodes(market))
    env.reset(seed=0)
    ends = [env.step(np.zeros(TICKERS, np.float32))[2:4] for _ in range(30)]
    assert ends == [(False, False)] * 29 + [(False, True)]
    with pytest.raises(CappuccinoError, match="reset it"):
        env.step(np.zeros(TICKERS, np.float32))
    nervous = MarketEnv(episodes(market, guards=Guards(max_drawdown=0.005)))
    nervous.reset(seed=0)
    ends = []
    while not ends or not any(ends[-1]):
        ends.append(nervous.step(np.ones(TICKERS, np.float32))[2:4])
    assert ends[-1] == (True, False)
    assert len(ends) < 30


def test_vector_and_single_environments_agree_book_by_book(market):
    vector = MarketVectorEnv(episodes(market, books=5))
    seen, _ = vector.reset(seed=[11, 12, 13, 14, 15])
    singles = [MarketEnv(episodes(market)) for _ in range(5)]
    np.testing.assert_array_equal(seen, [single.reset(seed=11 + k)[0] for k, single in enumerate(singles)])
    random = np.random.default_rng(0)
    for _ in range(29):
        actions = random.uniform(-1, 1, (5, TICKERS)).astype(np.float32)
        seen, reward, *_ = vector.step(actions)
        alone = [single.step(action) for single, action in zip(singles, actions, strict=True)]
        np.testing.assert_array_equal(seen, [one[0] for one in alone])
        np.testing.assert_array_equal(reward, [one[1] for one in alone])


def test_a_vector_environments_end_shows_the_last_observation_and_starts_again(market):
    vector = MarketVectorEnv(episodes(market, books=3), reward_scale=2.0)
    seen, _ = vector.reset(seed=5)
    assert vector.observation_space.contains(seen)
    assert len(np.unique(seen, axis=0)) == 3
    for step in range(30):
        seen, _, terminated, truncated, info = vector.step(np.full((3, TICKERS), 0.3, np.float32))
        assert truncated.all() == (step == 29)
        assert not terminated.any()
    assert info["_final_obs"].all()
    assert (np.stack(info["final_obs"])[:, 0] < 1).all()
    assert (seen[:, 0] == 1).all()  # fresh accounts are in cash


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_refused(market, bad):
    vector = MarketVectorEnv(episodes(market, books=2))
    vector.reset(seed=0)
    action = np.zeros((2, TICKERS), np.float32)
    action[1, 2] = bad
    with pytest.raises(CappuccinoError, match="NaN or infinite"):
        vector.step(action)
    with pytest.raises(ValueError, match="2 books do not fit one environment"):
        MarketEnv(episodes(market, books=2))


@pytest.mark.parametrize("settings", [
    {"first": 1}, {"last": 300}, {"episode_bars": 261}, {"lookback": 22},
])  # fmt: skip
def test_rows_that_do_not_fit_are_refused(market, settings):
    with pytest.raises(ValueError, match=r"rows|episode"):
        episodes(market, **settings)


def test_the_fast_environment_pays_what_the_plain_one_does(market):
    """Index observations and groups against independent books that are stepped one row at a time."""
    settings = {
        "guards": Guards(stop_loss=0.03, trailing_stop=0.05, min_holding_bars=2, cooldown_bars=2),
        "costs": Costs(slippage_bps=2, fee_in_coin=True),
        "reward": Reward(benchmark="equal_weight", turnover_penalty=0.1, drawdown_penalty=0.3),
    }
    layout = Layout(timestamps=3, environments=2, steps=30, episode_bars=30)
    fast = VectorEnv(layout=layout, first=20, last=280, seed=0, **settings, **market.arrays())
    rows = fast.begin_rollout()
    plain = episodes(market, books=3, **settings)
    plain.rows = rows[0].clone()
    plain.book.positions.forget(torch.ones(3, dtype=torch.bool))
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        action = torch.randn(3, TICKERS, generator=random)
        outcome = fast.step(action.repeat_interleave(2, dim=0))
        moment = plain.step(action)
        in_cash_at_first = outcome.reward[::2].sum(-1).numpy()
        np.testing.assert_allclose(in_cash_at_first, moment.reward, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(fast.entries()[::2].numpy(), moment.observation[:, : 1 + TICKERS])


def test_stable_baselines3_trains_on_it_unchanged(market):
    stable_baselines3 = pytest.importorskip("stable_baselines3", exc_type=ImportError)
    from stable_baselines3.common.env_checker import check_env
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecMonitor

    from cappuccino_ml.environment.sb3_adapter import MarketVecEnv

    check(check_env, MarketEnv(episodes(market)))
    for env in (
        make_vec_env(lambda: MarketEnv(episodes(market)), n_envs=2, seed=0),
        VecMonitor(MarketVecEnv(MarketVectorEnv(episodes(market, books=2), reward_scale=100.0))),
    ):
        agent = stable_baselines3.PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=2, seed=0, device="cpu")
        before = [parameter.detach().clone() for parameter in agent.policy.parameters()]
        agent.learn(256)
        assert agent.num_timesteps == 256
        assert all(torch.isfinite(parameter).all() for parameter in agent.policy.parameters())
        assert not all(torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
        assert len(agent.ep_info_buffer) == 8  # 2 books x 128 bars, episodes of 30
        assert {info["l"] for info in agent.ep_info_buffer} == {30}


def test_the_library_works_without_gymnasium():
    code = (
        "import sys; sys.modules['gymnasium'] = sys.modules['stable_baselines3'] = None; "
        "import cappuccino_ml.environment, cappuccino_ml.policy, cappuccino_ml.study; print('ok')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.stdout.strip() == "ok", run.stderr
