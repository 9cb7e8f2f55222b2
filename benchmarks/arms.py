"""What the FT-Transformer costs beside the mlp arm: time per environment step, rollout and update together.

Same PPO settings for all: net 512, lookback 10, 64 environments per timestamp, minibatches of 4,096 steps (64
timestamps), 4 epochs. One thread and its processor time, which on an idle machine is wall time; repetitions are
interleaved.

The ratios count only if so many books to a timestamp learn as much. So the mlp and the small preset (the balanced one
has about eight times its arithmetic per encoding) are trained on planted markets as 64 books to a timestamp and as one,
with the same settings and environment steps, and their final equity on unseen rows is compared. 64 books visit one
moment where one book each visits 64: only after 64 times as many steps as there are training rows can they have seen
all of them, so that is asked by default (about 45 minutes of one core; fewer `--steps` compare how fast they begin).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.encoder import PRESETS
from benchmarks.environment import market as random_market
from benchmarks.layouts import Learner, Snapshot, Worth
from benchmarks.markets import planted
from benchmarks.pretraining import TOKENIZATIONS, epochs_within, simulated_market
from cappuccino_ml.encoder import BALANCED, EncoderSettings, PretrainingSettings, pretrain
from cappuccino_ml.environment import Costs, Guards, Layout, Reward, VectorEnv
from cappuccino_ml.policy import AgentSettings, PPOSettings, build_agent
from cappuccino_ml.policy.ppo import update
from cappuccino_ml.policy.rollout import Encodings, collect
from cappuccino_ml.study import Dataset

TARGET_FINETUNED, TARGET_FROZEN, TARGET_GAP, TARGET_RETURN = 1.2, 1.05, 0.02, 0.95
ORACLE_SHARPE = 6.11  # net, of an oracle that sees the planted regime: `cappuccino_ml/bars/simulated.py`
NET, LOOKBACK, AMORTISED_STEPS, TABLE_ROWS = 512, 10, 300_000, 17_520
LAYOUT = Layout(timestamps=16, environments=64, steps=16)  # one run on market 203: 4 x 64 x 64 learned less
SETTINGS = PPOSettings(batch_size=4096, epochs=4, max_kl=1e9)  # every repetition does all its epochs
ALONE = Layout(timestamps=LAYOUT.books, environments=1, steps=LAYOUT.steps)
LEARNING = PPOSettings(batch_size=4096, epochs=4, learning_rate=7e-4)
POINTS, FIRST_MARKET = 4, 301  # seeds of which no setting was chosen


def settings_of(encoder: EncoderSettings | None, *, frozen: bool = False) -> AgentSettings:
    return AgentSettings(
        arm="mlp" if encoder is None else "ft_pretrained" if frozen else "ft_scratch",
        lookback=LOOKBACK,
        net_dimension=NET,
        encoder=encoder,
        freeze_encoder=frozen,
    )


def iteration(encoder: EncoderSettings | None, *, frozen: bool = False) -> Callable[[], float]:
    """One rollout and its update -> processor seconds per environment step, the frozen table's share included."""
    prices = random_market()
    features = torch.randn(len(prices["close"]), 7, 14, generator=torch.Generator().manual_seed(0))
    agent = build_agent(settings_of(encoder, frozen=frozen), tickers=7, features=14, seed=0).eval()
    env = VectorEnv(
        first=LOOKBACK,
        last=len(features) - 1,
        layout=LAYOUT,
        guards=Guards(),
        costs=Costs(),
        reward=Reward(),
        seed=0,
        **prices,
    )
    began = time.process_time()
    encodings = Encodings(agent, features, first=env.first, last=env.last)
    table = (time.process_time() - began) * TABLE_ROWS / (len(features) - LOOKBACK) / AMORTISED_STEPS if frozen else 0.0
    trainable = [parameter for parameter in agent.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-5, eps=1e-5, fused=True)
    random = torch.Generator().manual_seed(0)

    def play() -> float:
        began = time.process_time()
        rollout = collect(agent, encodings, env, SETTINGS, reward_scale=100.0, random=random)
        update(agent, encodings, rollout, optimizer, SETTINGS, random=random)
        return (time.process_time() - began) / LAYOUT.samples + table

    return play


def r2_within(seconds: float, *, seed: int) -> dict[str, float]:
    """Masked R2 of the balanced preset by tokenization, each given as much processor time."""
    features, _ = simulated_market(seed=seed)
    found = {}
    for tokenization in (BALANCED.tokenization, "series"):
        encoder = BALANCED.model_copy(update={"tokenization": tokenization, "lookback": LOOKBACK})
        settings = PretrainingSettings(batch_size=64, learning_rate=TOKENIZATIONS[tokenization], patience=100)
        epochs = max(1, epochs_within(features, encoder, settings, seconds))
        skill = pretrain(
            market=features,
            first=0,
            last=len(features) - 1,
            encoder=encoder,
            settings=settings.model_copy(update={"epochs": epochs}),
            seed=seed,
        ).skill
        found[tokenization] = skill.r2["model"]
        print(f"masked R2 of {tokenization:8} after {epochs} epochs: {found[tokenization]:.3f}", flush=True)
    return found


class Point(NamedTuple):
    """Of a training at one moment: what it had cost and what its agent is worth."""

    cost: Snapshot
    unseen: Worth
    seen: Worth


def learn(encoder: EncoderSettings | None, layout: Layout, *, steps: int, datasets: list[Dataset]) -> list[list[Point]]:
    """One training per market, each with a seed of its own -> its points."""
    runs = []
    for seed, dataset in enumerate(datasets):
        learner = Learner(dataset, agent=settings_of(encoder), ppo=LEARNING.model_copy(update={"steps": steps}))
        snapshots = learner.learn(layout, seed=seed, points=POINTS)
        rows = (learner.test_rows, learner.train_rows)
        measured = [learner.measure(snapshots, span) for span in rows]
        runs.append([Point(*point) for point in zip(snapshots, *measured, strict=True)])
    return runs


def seconds_to_half(runs: list[list[Point]], rows: str) -> tuple[float | None, str]:
    """When the mean Sharpe over seeds on `rows` first reaches half of the oracle's, and a sentence that says so."""
    best = -float("inf")
    for points in zip(*runs, strict=True):
        sharpe = statistics.mean(getattr(point, rows).sharpe for point in points)
        best = max(best, sharpe)
        if sharpe >= ORACLE_SHARPE / 2:
            seconds = statistics.mean(point.cost.seconds for point in points)
            return round(seconds, 1), f"after {seconds:.1f} s ({points[0].cost.steps:,} steps)"
    return None, f"not reached in {runs[0][-1].cost.steps:,} steps (at best {best:+.2f})"


def returns(*, steps: int, datasets: list[Dataset]) -> dict[str, float | None]:
    """Print what both layouts learn, arm by arm -> the numbers for the last line."""
    found: dict[str, float | None] = {}
    print(f"\nlearning: {steps:,} steps, means of {len(datasets)} markets; equity and net Sharpe on unseen rows")
    print(
        f"{'arm':10}{'layout':12}{'seconds':>9}{'equity':>8}{'Sharpe':>8}{'training rows':>15}{'ratio':>7}{'target':>9}"
    )
    for arm, encoder in {"mlp": None, "ft_small": PRESETS["small"]}.items():
        ratio, reference = None, 0.0
        for layout in (ALONE, LAYOUT):
            runs = learn(encoder, layout, steps=steps, datasets=datasets)
            last = [run[-1] for run in runs]
            equity = statistics.mean(point.unseen.equity for point in last)
            unseen, seen = (
                statistics.mean(getattr(point, rows).sharpe for point in last) for rows in ("unseen", "seen")
            )
            end = ""
            if layout is ALONE:
                reference, learned = equity, unseen > 0
            elif learned:
                ratio = round(equity / reference, 3)
                end = f"{ratio:>7.3f}{f'>= {TARGET_RETURN:g}':>9}"
            else:
                end = "  no ratio: a book to each timestamp learned nothing to be compared with"
            shape = f"{layout.timestamps}x{layout.environments}x{layout.steps}"
            seconds = statistics.mean(point.cost.seconds for point in last)
            print(f"{arm:10}{shape:12}{seconds:>9.1f}{equity:>8.3f}{unseen:>+8.2f}{seen:>+15.2f}{end}", flush=True)
            for rows, words in (("seen", "training"), ("unseen", "unseen")):
                reached, sentence = seconds_to_half(runs, rows)
                print(
                    f"    Sharpe {ORACLE_SHARPE / 2:.2f}, half of the oracle's, on {words} rows: {sentence}", flush=True
                )
                if layout is LAYOUT:
                    found[f"{arm}_seconds_to_half_oracle_{words}"] = reached
        found[f"{arm}_return_ratio_to_one_per_timestamp"] = ratio
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each of two pre-trainings")
    parser.add_argument("--steps", type=int, default=64 * LAYOUT.samples, help="of each training")
    parser.add_argument("--seeds", type=int, default=3, help="markets, each with another agent")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = {"mlp": iteration(None), "ft balanced, fine-tuned": iteration(BALANCED)}
    runs["ft balanced, frozen"] = iteration(BALANCED, frozen=True)
    runs |= {f"ft {name}, fine-tuned": iteration(PRESETS[name]) for name in ("small", "large")}
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            times[name].append(run())
    # Of one repetition, because a neighbour that disturbs it disturbs all of it; then the median.
    ratios = {
        name: statistics.median(one / mlp for one, mlp in zip(values, times["mlp"], strict=True))
        for name, values in times.items()
    }
    targets = {"ft balanced, fine-tuned": TARGET_FINETUNED, "ft balanced, frozen": TARGET_FROZEN}
    moments = LAYOUT.timestamps * (LAYOUT.steps + 1 + SETTINGS.epochs * LAYOUT.steps) / LAYOUT.samples
    print(f"{'arm':26}{'us per step':>12}{'steps/s':>10}{'moments/s':>11}{'over mlp':>10}{'target':>9}")
    for name, values in times.items():
        median = statistics.median(values)
        encoded = "table" if "frozen" in name else f"{moments / median:,.0f}"
        target = f"<= {targets[name]:g}" if name in targets else ""
        print(f"{name:26}{median * 1e6:>12.1f}{1 / median:>10,.0f}{encoded:>11}{ratios[name]:>10.2f}{target:>9}")
    print("moments/s: distinct timestamps encoded per second, in rollouts and updates", flush=True)
    r2 = r2_within(arguments.seconds, seed=7)
    gap = r2["series"] - r2[BALANCED.tokenization]
    print(f"series is ahead of {BALANCED.tokenization} in masked R2 by {gap:+.3f} (target: at most {TARGET_GAP})")
    with tempfile.TemporaryDirectory() as folder:
        datasets = [planted(Path(folder), seed=FIRST_MARKET + seed) for seed in range(arguments.seeds)]
        learned = returns(steps=arguments.steps, datasets=datasets)
    print(f"the ratios of time count only where there is a ratio of equity and it is at least {TARGET_RETURN:g}")
    result = {
        "ft_finetuned_over_mlp": round(ratios["ft balanced, fine-tuned"], 3),
        "ft_frozen_over_mlp": round(ratios["ft balanced, frozen"], 3),
        "pretraining_r2_gap_to_series": round(gap, 4),
        **learned,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
