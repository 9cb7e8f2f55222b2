"""Environment steps per second on one core, all guards and costs on, against a plain NumPy loop of one environment."""

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.plain_environment import PlainEnvironment
from cappuccino_ml.environment import Costs, Guards, Layout, Reward, VectorEnv

TARGET_STEPS, TARGET_RATIO = 1_000_000, 50
BARS, TICKERS, STEPS, REPEATS, PLAIN_STEPS = 4000, 7, 64, 7, 4000

GUARDS = Guards(
    max_step=0.2, max_drawdown=0.5, stop_loss=0.05, trailing_stop=0.06, min_holding_bars=4, cooldown_bars=6
)  # fmt: skip
COSTS = Costs(
    slippage_bps=3,
    fee_in_coin=True,
    increment=(1e-6, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3),
    min_notional=(10.0,) * TICKERS,
)
REWARD = Reward(
    benchmark="equal_weight", turnover_penalty=0.001, concentration_penalty=0.0001, drawdown_penalty=0.1
)  # fmt: skip


def market() -> dict[str, np.ndarray]:
    """A random walk of hourly size with gaps and filled bars."""
    random = np.random.default_rng(0)
    moves = 0.008 * random.standard_normal((BARS, TICKERS)) + 0.006 * random.standard_normal((BARS, 1))
    close = random.uniform(10, 1000, TICKERS) * np.exp(np.cumsum(moves, axis=0))
    gaps = np.exp(0.001 * random.standard_normal((BARS, TICKERS)))
    opens = np.vstack([close[:1], close[:-1]]) * gaps
    return {"open_": opens, "close": close, "tradable": random.random((BARS, TICKERS)) > 0.01}


def vector(*, timestamps: int, environments: int, guards: Guards, costs: Costs, reward: Reward) -> Callable[[], float]:
    """One rollout of B books, observations read and restarts included -> steps per second of processor time."""
    layout = Layout(timestamps=timestamps, environments=environments, steps=STEPS, episode_bars=4 * STEPS)
    env = VectorEnv(
        first=0, last=BARS - 1, layout=layout, guards=guards, costs=costs, reward=reward, seed=0, **market()
    )  # fmt: skip
    random = torch.Generator().manual_seed(0)
    actions = [torch.randn(layout.books, TICKERS, generator=random) for _ in range(8)]

    def rollout() -> float:
        began = time.process_time()
        env.begin_rollout()
        for step in range(STEPS):
            env.entries()
            env.step(actions[step % 8])
        return layout.samples / (time.process_time() - began)

    return rollout


def plain() -> Callable[[], float]:
    """As many steps of the peer -> steps per second of processor time."""
    env = PlainEnvironment(guards=GUARDS, costs=COSTS, reward=REWARD, **market())
    random = np.random.default_rng(0)
    actions = random.standard_normal((8, TICKERS))

    def play() -> float:
        began = time.process_time()
        env.reset(0)
        for step in range(PLAIN_STEPS - 1):
            if env.step(actions[step % 8])[2]:
                env.reset(env.t)
        return PLAIN_STEPS / (time.process_time() - began)

    return play


def largest_difference() -> float:
    """Of rewards and entries between the two, over 300 bars of the same actions from the same start."""
    layout = Layout(timestamps=1, environments=2, steps=300, episode_bars=300)
    env = VectorEnv(
        first=0, last=BARS - 1, layout=layout, guards=GUARDS, costs=COSTS, reward=REWARD, seed=0, **market()
    )  # fmt: skip
    peer = PlainEnvironment(guards=GUARDS, costs=COSTS, reward=REWARD, **market())
    peer.reset(int(env.begin_rollout()[0, 0]))
    random, worst = np.random.default_rng(1), 0.0
    for _ in range(300):
        action = random.standard_normal(TICKERS)
        outcome = env.step(torch.from_numpy(action).expand(2, TICKERS))
        entries, paid, over = peer.step(action)
        if over or bool(outcome.terminated[0]):
            break
        worst = max(worst, abs(float(outcome.reward[0].sum()) - paid))
        worst = max(worst, float(np.abs(env.entries()[0].numpy() - entries).max()))
    return worst


def main() -> int:
    torch.set_num_threads(1)
    difference = largest_difference()
    if difference > 1e-6:
        sys.stderr.write(f"the two accountings differ by {difference:g}; the comparison would mean nothing\n")
        return 1
    everything = {"guards": GUARDS, "costs": COSTS, "reward": REWARD}
    defaults = {"guards": Guards(), "costs": Costs(), "reward": Reward()}
    runs = {
        "B 4,096 as 64 x 64, everything on": vector(timestamps=64, environments=64, **everything),
        "plain NumPy loop, everything on": plain(),
        "B 4,096 as 4,096 x 1, everything on": vector(timestamps=4096, environments=1, **everything),
        "B 4,096 as 64 x 64, defaults": vector(timestamps=64, environments=64, **defaults),
        "B 64 as 8 x 8, everything on": vector(timestamps=8, environments=8, **everything),
    }
    for run in runs.values():
        run()
    # Interleaved, so that a noisy neighbour disturbs all alike.
    speeds = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, run in runs.items():
            speeds[name].append(run())
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ours, peer = list(medians.values())[:2]
    print(f"{'environment steps per second of one core':42}{'median':>12}{'range':>26}{'target':>16}")
    for k, (name, median) in enumerate(medians.items()):
        spread = f"{min(speeds[name]):,.0f} .. {max(speeds[name]):,.0f}"
        print(f"{name:42}{median:>12,.0f}{spread:>26}{'>= ' + format(TARGET_STEPS, ',') if k == 0 else '':>16}")
    print(f"{'ratio of the first to the second':42}{ours / peer:>12,.0f}{'':26}{'>= ' + str(TARGET_RATIO):>16}")
    print(f"largest difference between the two accountings over 300 bars: {difference:.1e}")
    print(json.dumps({"steps_per_s_core": round(ours), "ratio_to_plain_loop": round(ours / peer, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
