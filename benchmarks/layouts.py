"""Which layout learns most per second of processor time: net Sharpe on unseen rows of planted markets, by layout."""

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.markets import planted
from cappuccino_ml.encoder import SMALL
from cappuccino_ml.environment import Layout, VectorEnv, backtests
from cappuccino_ml.features import Scaler
from cappuccino_ml.metrics import annual_sharpe
from cappuccino_ml.policy import ActorCritic, AgentSettings, Arm, Iteration, TrainingSettings, build_agent, train
from cappuccino_ml.study import ComparisonSettings, Dataset

LAYOUTS = ("64x1x64", "16x4x64", "8x8x64", "2x32x64", "16x16x16", "8x8x32", "8x8x128")
FIRST_MARKET = 201  # seeds of which no setting was chosen


def layout_of(text: str) -> Layout:
    timestamps, environments, steps = map(int, text.split("x"))
    return Layout(timestamps=timestamps, environments=environments, steps=steps, episode_bars=256)


class Learner:
    """One arm on one planted market; every layout gets the same seed, rows and settings."""

    def __init__(self, dataset: Dataset, *, arm: Arm, steps: int) -> None:
        self.table, fold, defaults = dataset.market, dataset.splits.folds[-1], ComparisonSettings()
        self.train_rows, self.test_rows = fold.train, fold.test
        encoder = None if arm == "mlp" else SMALL.model_copy(update={"lookback": 6})
        agent = AgentSettings(arm=arm, lookback=6, net_dimension=defaults.net_dimension, encoder=encoder)
        self.settings = TrainingSettings(agent=agent, ppo=defaults.ppo.model_copy(update={"steps": steps}))
        scaler = Scaler.fit(self.table.features, slice(*self.train_rows), schema=self.table.schema)
        self.features = torch.from_numpy(self.table.scaled(scaler))
        self.prices = {"open_": self.table.open, "close": self.table.close, "tradable": self.table.tradable}
        self.bars_per_year = dataset.config.bars_per_year

    def learn(self, layout: Layout, *, seed: int, points: int) -> list[tuple[int, float, float]]:
        """-> (environment steps, processor seconds so far, net Sharpe) at about evenly spaced points."""
        settings = self.settings
        rules = {"guards": settings.guards, "costs": settings.costs}
        first, last = self.train_rows
        env = VectorEnv(
            first=first, last=last, layout=layout, reward=settings.reward, seed=seed, **rules, **self.prices
        )  # fmt: skip
        tickers, features = self.features.shape[1:]
        agent = build_agent(settings.agent, tickers=tickers, features=features, seed=seed)
        kept: list[tuple[int, float, ActorCritic]] = []
        began = time.process_time()

        def keep(line: Iteration) -> None:
            nonlocal began
            now = time.process_time()
            if line.steps * points >= settings.ppo.steps * (len(kept) + 1):
                kept.append((line.steps, now - began, copy.deepcopy(agent)))
            began += time.process_time() - now  # copying is not learning

        train(agent, market=self.features, env=env, settings=settings.ppo, seed=seed, on_iteration=keep)
        first, last = self.test_rows
        rows = torch.arange(first, last)
        acts = []
        for _, _, snapshot in kept:
            with torch.no_grad():
                table = snapshot.encode(self.features, rows)[0]

            def act(t, entries, snapshot=snapshot, table=table):
                with torch.no_grad():
                    mean = snapshot.mean_action(table[t - first][None], torch.from_numpy(entries).view(1, 1, -1))
                return mean[0, 0].clamp(-1, 1).double().numpy()

            acts.append(act)
        results = backtests(acts=acts, first=first, last=last, **rules, **self.prices)
        return [
            (steps, seconds, annual_sharpe(result.returns, self.bars_per_year))
            for (steps, seconds, _), result in zip(kept, results, strict=True)
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), help="timestamps x environments x steps")
    parser.add_argument("--arm", choices=("mlp", "ft_scratch"), default="mlp")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5, help="each another market and another agent")
    parser.add_argument("--points", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    curves: dict[str, list[list[tuple[int, float, float]]]] = {name: [] for name in arguments.layouts}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            dataset = planted(Path(folder), seed=FIRST_MARKET + seed)
            learner = Learner(dataset, arm=arguments.arm, steps=arguments.steps)
            for name, runs in curves.items():
                runs.append(learner.learn(layout_of(name), seed=seed, points=arguments.points))
                shown = ", ".join(f"{sharpe:+.2f} at {steps:,}" for steps, _, sharpe in runs[-1])
                print(f"market {FIRST_MARKET + seed}, {name:9} {runs[-1][-1][1]:6.1f} s: {shown}", flush=True)
    print(f"\n{arguments.arm}, mean net Sharpe of {arguments.seeds} seeds by environment steps; seconds of one core")
    result = {}
    for name, runs in curves.items():
        sharpes = [statistics.mean(run[point][2] for run in runs) for point in range(arguments.points)]
        seconds = statistics.median(run[-1][1] for run in runs)
        spread = statistics.stdev(run[-1][2] for run in runs) if len(runs) > 1 else 0.0
        line = "".join(f"{sharpe:>+8.2f}" for sharpe in sharpes)
        print(f"{name:10}{seconds:>8.1f} s{line}   spread of the last over seeds {spread:.2f}")
        result[name] = {"seconds": round(seconds, 1), "sharpe": round(sharpes[-1], 2)}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
