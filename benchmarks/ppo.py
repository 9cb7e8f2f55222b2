"""Environment steps per second and what they buy: our PPO beside Stable-Baselines3's, on planted markets.

Both: seven tickers, lookback 10 (988 numbers), separate actor and critic of [128, 128] with ReLU, rollouts of 2,048
steps, batches of 1,024, 10 epochs, two threads, the same learning rate (falling to zero), gamma, lambda, clip, entropy,
initial spread, reward scale, guards and costs. Stable-Baselines3 plays 8 books through our Gymnasium vector adapter.
Ours plays as many steps in a layout of its own, with its own value weight, baselines and weight decay: they are part of
it. `--threads 1` is for machines where others compute, too: there two threads mostly wait for each other.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO
from torch import nn

from benchmarks.markets import planted
from cappuccino_ml.environment import Act, Episodes, Layout, VectorEnv, backtest
from cappuccino_ml.environment.gymnasium_adapter import MarketVectorEnv
from cappuccino_ml.environment.sb3_adapter import MarketVecEnv
from cappuccino_ml.features import Scaler
from cappuccino_ml.metrics import annual_sharpe
from cappuccino_ml.policy import AgentSettings, PPOSettings, TrainingSettings, build_agent, train
from cappuccino_ml.study import Dataset

TARGET_SPEED, TARGET_RETURN = 7.0, 0.95
LOOKBACK, NET, BOOKS, ROLLOUT, BATCH, EPOCHS = 10, 128, 8, 2048, 1024, 10
FIRST_MARKET = 101  # seeds that no setting was chosen on
LAYOUT = Layout(timestamps=16, environments=8, steps=16)
SETTINGS = TrainingSettings(
    agent=AgentSettings(lookback=LOOKBACK, net_dimension=NET, share_encoder=False),
    ppo=PPOSettings(learning_rate=7e-4, batch_size=BATCH, epochs=EPOCHS),
    layout=LAYOUT,
)


class TimedVecEnv(MarketVecEnv):
    """Counts the seconds spent in the environment and its adapters."""

    seconds = 0.0

    def step_wait(self):
        began = time.perf_counter()
        outcome = super().step_wait()
        self.seconds += time.perf_counter() - began
        return outcome


class Market:
    """One planted market: rows to train on, and rows to measure on after a gap."""

    def __init__(self, dataset: Dataset) -> None:
        self.table = dataset.market
        self.train, self.test = dataset.splits.folds[-1].train, dataset.splits.folds[-1].test
        scaler = Scaler.fit(self.table.features, slice(*self.train), schema=self.table.schema)
        self.features = self.table.scaled(scaler)
        self.prices = {"open_": self.table.open, "close": self.table.close, "tradable": self.table.tradable}
        self.bars_per_year = dataset.config.bars_per_year

    def env(self, *, seed: int) -> VectorEnv:
        parts = {"guards": SETTINGS.guards, "costs": SETTINGS.costs, "reward": SETTINGS.reward}
        return VectorEnv(
            first=self.train[0], last=self.train[1], layout=LAYOUT, seed=seed, **parts, **self.prices
        )  # fmt: skip

    def measure(self, act: Act) -> tuple[float, float]:
        """-> final equity as a multiple of the start, net annual Sharpe."""
        parts = {"guards": SETTINGS.guards, "costs": SETTINGS.costs}
        result = backtest(act=act, first=self.test[0], last=self.test[1], **parts, **self.prices)
        return float(result.equity[-1] / result.equity[0]), annual_sharpe(result.returns, self.bars_per_year)


def ours(market: Market, *, steps: int, seed: int) -> tuple[float, Act]:
    """-> seconds, policy."""
    agent = build_agent(SETTINGS.agent, tickers=7, features=market.features.shape[2], seed=seed)
    features, env = torch.from_numpy(market.features), market.env(seed=seed)
    settings = SETTINGS.ppo.model_copy(update={"steps": steps})
    began = time.perf_counter()
    train(agent, market=features, env=env, settings=settings, seed=seed)
    seconds = time.perf_counter() - began

    def act(t: int, entries: np.ndarray) -> np.ndarray:
        return agent.act(features[t - LOOKBACK + 1 : t + 1], torch.from_numpy(entries)).numpy()

    return seconds, act


def theirs(market: Market, *, steps: int, seed: int) -> tuple[float, float, Act]:
    """-> seconds, seconds of these in the adapter and the environment, policy."""
    episodes = Episodes(
        features=market.features,
        first=market.train[0],
        last=market.train[1],
        books=BOOKS,
        lookback=LOOKBACK,
        episode_bars=LAYOUT.episode_bars,
        guards=SETTINGS.guards,
        costs=SETTINGS.costs,
        reward=SETTINGS.reward,
        random_holdings=True,
        seed=seed,
        **market.prices,
    )
    env = TimedVecEnv(MarketVectorEnv(episodes, reward_scale=1.0 / market.env(seed=0).market_volatility()))
    ppo = SETTINGS.ppo
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda left: ppo.learning_rate * left,
        n_steps=ROLLOUT // BOOKS,
        batch_size=BATCH,
        n_epochs=EPOCHS,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip,
        ent_coef=ppo.entropy,
        max_grad_norm=ppo.max_grad_norm,
        policy_kwargs={
            "net_arch": [NET, NET],
            "activation_fn": nn.ReLU,
            "log_std_init": SETTINGS.agent.initial_log_std,
        },
        seed=seed,
        device="cpu",
    )
    began = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - began

    def act(t: int, entries: np.ndarray) -> np.ndarray:
        window = market.features[t - LOOKBACK + 1 : t + 1].transpose(2, 1, 0)
        return model.predict(np.concatenate([entries, window.ravel()]), deterministic=True)[0].astype(np.float64)

    return seconds, env.seconds, act


@dataclass(frozen=True)
class Duel:
    """Both on one market with one seed."""

    ours_per_s: float
    theirs_per_s: float
    adapter_share: float  # of their time
    our_equity: float
    our_sharpe: float
    their_equity: float
    their_sharpe: float

    @property
    def line(self) -> str:
        return (
            f"{self.ours_per_s:,.0f} against {self.theirs_per_s:,.0f} steps/s; final equity {self.our_equity:.3f} "
            f"against {self.their_equity:.3f}, net Sharpe {self.our_sharpe:+.2f} against {self.their_sharpe:+.2f}"
        )


def duel(market: Market, *, steps: int, seed: int) -> Duel:
    ours(market, steps=ROLLOUT, seed=seed)  # the first rollout of a process is slow
    slow, adapter, their_act = theirs(market, steps=steps, seed=seed)
    fast, our_act = ours(market, steps=steps, seed=seed)
    our_equity, our_sharpe = market.measure(our_act)
    their_equity, their_sharpe = market.measure(their_act)
    return Duel(
        ours_per_s=steps / fast,
        theirs_per_s=steps / slow,
        adapter_share=adapter / slow,
        our_equity=our_equity,
        our_sharpe=our_sharpe,
        their_equity=their_equity,
        their_sharpe=their_sharpe,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100 * ROLLOUT)
    parser.add_argument("--seeds", type=int, default=5, help="each another market and another agent")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            market = Market(planted(Path(folder), seed=FIRST_MARKET + seed))
            runs.append(duel(market, steps=arguments.steps, seed=seed))
            print(f"market {FIRST_MARKET + seed}: {runs[-1].line}", flush=True)
    speed = statistics.median(run.ours_per_s / run.theirs_per_s for run in runs)
    mean = {name: statistics.mean(getattr(run, name) for run in runs) for name in Duel.__dataclass_fields__}
    bought = mean["our_equity"] / mean["their_equity"]
    title = f"{arguments.steps:,} steps, {len(runs)} seeds, {arguments.threads} threads"
    print(f"\n{title:46}{'ours':>10}{'SB3':>10}{'ratio':>8}{'target':>9}")
    for name, first, second, ratio, target in [
        ("environment steps per second, mean", "ours_per_s", "theirs_per_s", speed, TARGET_SPEED),
        ("final equity on unseen rows, mean", "our_equity", "their_equity", bought, TARGET_RETURN),
    ]:
        digits = ",.0f" if mean[first] > 100 else ".3f"
        print(f"{name:46}{mean[first]:>10{digits}}{mean[second]:>10{digits}}{ratio:>8.2f}{f'>= {target:g}':>9}")
    print(f"{'net Sharpe a year on unseen rows, mean':46}{mean['our_sharpe']:>+10.2f}{mean['their_sharpe']:>+10.2f}")
    print(f"{'environment and adapter, share of the time':46}{'':10}{mean['adapter_share']:>10.0%}")
    print("the ratio of speeds is the median over seeds, that of equities the ratio of the means")
    print(json.dumps({"ratio_to_sb3": round(speed, 2), "return_ratio_to_sb3": round(bought, 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
