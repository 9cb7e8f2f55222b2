"""Which layout learns most per second of processor time: net Sharpe on unseen rows of planted markets, by layout."""

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.markets import planted
from cappuccino_ml.encoder import SMALL
from cappuccino_ml.environment import Layout, VectorEnv, backtests
from cappuccino_ml.features import Scaler
from cappuccino_ml.metrics import annual_sharpe, mean_interval
from cappuccino_ml.policy import (
    ActorCritic,
    AgentSettings,
    Iteration,
    PPOSettings,
    TrainingSettings,
    build_agent,
    train,
)
from cappuccino_ml.reports.style import FAINT, PALETTE, canvas
from cappuccino_ml.study import ComparisonSettings, Dataset

LAYOUTS = ("8x8x128", "64x1x64", "16x4x64", "8x8x64", "2x32x64", "16x16x16")
FIRST_MARKET = 201  # seeds of which no setting was chosen
COMPARED = ComparisonSettings()
AGENTS = {
    "mlp": AgentSettings(arm="mlp", lookback=6, net_dimension=COMPARED.net_dimension),
    "ft_scratch": AgentSettings(
        arm="ft_scratch",
        lookback=6,
        net_dimension=COMPARED.net_dimension,
        encoder=SMALL.model_copy(update={"lookback": 6}),
    ),
}


def layout_of(text: str) -> Layout:
    timestamps, environments, steps = map(int, text.split("x"))
    return Layout(timestamps=timestamps, environments=environments, steps=steps, episode_bars=256)


class Snapshot(NamedTuple):
    """The agent as it was after so many environment steps and seconds of one core."""

    steps: int
    seconds: float
    agent: ActorCritic


class Worth(NamedTuple):
    """Of an agent on some rows, net of costs."""

    sharpe: float  # annual
    equity: float  # at the end, as a multiple of the start


class Learner:
    """One kind of agent on one planted market; every layout gets the same seed, rows and settings."""

    def __init__(self, dataset: Dataset, *, agent: AgentSettings, ppo: PPOSettings) -> None:
        self.table, fold = dataset.market, dataset.splits.folds[-1]
        self.train_rows, self.test_rows = fold.train, fold.test
        self.settings = TrainingSettings(agent=agent, ppo=ppo)
        scaler = Scaler.fit(self.table.features, slice(*self.train_rows), schema=self.table.schema)
        self.features = torch.from_numpy(self.table.scaled(scaler))
        prices = {"open_": self.table.open, "close": self.table.close, "tradable": self.table.tradable}
        self.rules = {"guards": self.settings.guards, "costs": self.settings.costs, **prices}
        self.bars_per_year = dataset.config.bars_per_year

    def learn(self, layout: Layout, *, seed: int, points: int) -> list[Snapshot]:
        """Train once; snapshots at about evenly spaced points, the last at the end."""
        settings = self.settings
        first, last = self.train_rows
        env = VectorEnv(first=first, last=last, layout=layout, reward=settings.reward, seed=seed, **self.rules)
        tickers, features = self.features.shape[1:]
        agent = build_agent(settings.agent, tickers=tickers, features=features, seed=seed)
        kept: list[Snapshot] = []
        began = time.process_time()

        def keep(line: Iteration) -> None:
            nonlocal began
            now = time.process_time()
            if line.steps * points >= settings.ppo.steps * (len(kept) + 1):
                kept.append(Snapshot(line.steps, now - began, copy.deepcopy(agent)))
            began += time.process_time() - now  # copying is not learning

        train(agent, market=self.features, env=env, settings=settings.ppo, seed=seed, on_iteration=keep)
        return kept

    def measure(self, snapshots: Sequence[Snapshot], rows: tuple[int, int]) -> list[Worth]:
        """What their agents earn on rows first..last."""
        first, last = rows
        acts = []
        for snapshot in snapshots:
            agent = snapshot.agent
            with torch.no_grad():
                table = torch.cat([agent.encode(self.features, part)[0] for part in torch.arange(*rows).split(1024)])

            def act(t, entries, agent=agent, table=table):
                with torch.no_grad():
                    mean = agent.mean_action(table[t - first][None], torch.from_numpy(entries).view(1, 1, -1))
                return mean[0, 0].clamp(-1, 1).double().numpy()

            acts.append(act)
        results = backtests(acts=acts, first=first, last=last, **self.rules)
        return [
            Worth(annual_sharpe(result.returns, self.bars_per_year), float(result.equity[-1] / result.equity[0]))
            for result in results
        ]


def draw(curves: dict[str, list[list[tuple[int, float, float]]]], *, arm: str, path: Path) -> None:
    """Mean over seeds of every layout's Sharpe against processor seconds, both at the same share of the run."""
    runs = len(next(iter(curves.values())))
    title = f"Layouts, {arm}: net Sharpe against processor time (mean of {runs} markets)"
    with canvas(path=path, label="simulated market, planted effect", title=title, height=3.6) as (ax,):
        for colour, (name, found) in zip(PALETTE, curves.items(), strict=False):
            _, seconds, sharpes = np.array(found).mean(0).T
            ax.plot(seconds, sharpes, color=colour, marker="o", ms=3, label=name.replace("x", " x "))
        ax.axhline(0, color=FAINT, lw=0.8)
        ax.set_xlabel("seconds of one core since the start of training")
        ax.set_ylabel("net Sharpe a year, unseen rows")
        ax.legend(title="timestamps x environments x steps", ncols=2, title_fontsize=8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), help="the first is what others are less")
    parser.add_argument("--arm", choices=tuple(AGENTS), default="mlp")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5, help="each another market and another agent")
    parser.add_argument("--points", type=int, default=6)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ppo = COMPARED.ppo.model_copy(update={"steps": arguments.steps})
    curves: dict[str, list[list[tuple[int, float, float]]]] = {name: [] for name in arguments.layouts}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            dataset = planted(Path(folder), seed=FIRST_MARKET + seed)
            learner = Learner(dataset, agent=AGENTS[arguments.arm], ppo=ppo)
            for name, runs in curves.items():
                snapshots = learner.learn(layout_of(name), seed=seed, points=arguments.points)
                worths = learner.measure(snapshots, learner.test_rows)
                runs.append([(s.steps, s.seconds, w.sharpe) for s, w in zip(snapshots, worths, strict=True)])
                shown = ", ".join(f"{sharpe:+.2f} at {steps:,}" for steps, _, sharpe in runs[-1])
                print(f"market {FIRST_MARKET + seed}, {name:9} {runs[-1][-1][1]:6.1f} s: {shown}", flush=True)
    print(f"\n{arguments.arm}, mean net Sharpe of {arguments.seeds} seeds by environment steps; seconds of one core")
    result, reference = {}, next(iter(curves))
    for name, runs in curves.items():
        sharpes = [statistics.mean(run[point][2] for run in runs) for point in range(len(runs[0]))]
        seconds = statistics.median(run[-1][1] for run in runs)
        line = "".join(f"{sharpe:>+8.2f}" for sharpe in sharpes)
        less = [mine[-1][2] - theirs[-1][2] for mine, theirs in zip(runs, curves[reference], strict=True)]
        between = mean_interval(less)
        said = "" if name == reference or between is None else "  95% {:+.2f} to {:+.2f}".format(*between)
        print(f"{name:10}{seconds:>8.1f} s{line}   less {reference} at the end {statistics.mean(less):+.2f}{said}")
        result[name] = {"seconds": round(seconds, 1), "sharpe": round(sharpes[-1], 2)}
    if arguments.picture:
        draw(curves, arm=arguments.arm, path=arguments.picture)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
