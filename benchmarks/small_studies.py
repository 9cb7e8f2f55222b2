"""Forty small but real studies, twenty on planted markets and twenty on placebos: results listed, no rate claimed.

Each is PPO, StepM over its trials, a refit, one reading of a holdout and the gate, on about a core-minute. So small a
study often misses what can be learned; the list shows what the gate makes of it. Placebos: simulated bars without an
effect and, with --bars, real bars whose paid returns are demeaned and moved by 30 days or more against the features.
`python -m benchmarks.small_studies --state FOLDER [--bars FOLDER]`; finished studies are kept in the state folder.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks import markets
from cappuccino_ml.bars import SimulatedSource, Universe, files_source
from cappuccino_ml.core import Settings, code_version, derive_seed, digest, read_settings, write_json
from cappuccino_ml.encoder import SMALL, PretrainingSettings
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import AGENT_ROOMS, Actor
from cappuccino_ml.study import (
    CrossValidation,
    Dataset,
    EncoderPlan,
    SplitSettings,
    StudySettings,
    encoder_jobs,
    finalist_job,
    fit,
    fit_encoder,
    freeze_dataset,
    make_splits,
    read_paths,
    run_jobs,
    run_study,
)
from cappuccino_ml.verdict import Finalist, GateSettings, HoldoutLedger, validate
from cappuccino_pipeline.plans import SMALL_SPACE

Kind = Literal["planted", "placebo", "real placebo"]
SPLITS = SplitSettings(folds=1)
PLAN = EncoderPlan(
    encoder=SMALL.model_copy(update={"lookback": 6}),
    pretraining=PretrainingSettings(epochs=2, batch_size=64, learning_rate=1e-2),
)
SPACE = SMALL_SPACE.model_copy(update={"steps": 80_000})
TRIALS_PER_SIDE = 2
GATE = GateSettings(resamples=999)
FIRST_SEED = 201  # nobody had looked at these markets when the defaults were chosen
SHORTEST_SHIFT_DAYS = 30


class SmallStudy(Settings):
    """One study to run."""

    kind: Kind
    seed: int
    bars: Path | None = None
    quote: str = "USD"
    state: Path

    @property
    def key(self) -> str:
        """Names its result."""
        parts = [SPLITS, PLAN, SPACE, TRIALS_PER_SIDE, GATE]
        code = code_version("bars", "metrics", *AGENT_ROOMS, "study", "verdict")
        return digest([self.kind, self.seed, str(self.bars), self.quote, parts, code])[:16]


class Line(Settings):
    """One study's result."""

    kind: Kind
    seed: int
    arm: str
    outcome: str
    incumbent: str
    sharpe: float
    interval: tuple[float, float] | None
    equal_weight: float
    superior: int
    trials: int
    failing: str
    ft_less_mlp: float | None
    bars: int
    core_seconds: float


def run(job: SmallStudy) -> Line:
    """Run it, or read what is finished."""
    done = job.state / "results" / f"{job.key}.json"
    if done.is_file():
        return read_settings(Line, done)
    began = time.process_time()
    root = job.state / "work" / job.key
    dataset = made(job, root / "datasets")
    encoders = encoder_jobs(dataset, PLAN, root=root / "encoders")
    for encoder in encoders.values():
        fit_encoder(encoder)
    settings = StudySettings(trials_per_side=TRIALS_PER_SIDE, space=SPACE, seed=job.seed)
    study = run_study(dataset, settings, encoders=encoders, root=root / "studies", workers=1, say=lambda line: None)
    finalists = {}
    for side in ("ft", "mlp"):
        trial = study.best(side)
        refit = finalist_job(dataset, study, trial, encoders=encoders, root=root / "studies")
        fit(refit)
        agent = refit.folder / "agent"
        finalists[side] = Finalist(trial=trial, actor=Actor.load(agent), folder=agent)
    report, _ = validate(
        dataset=dataset,
        study=study,
        trials=read_paths(root / "studies" / study.key, study=study, folds=dataset.splits.folds),
        finalists=finalists,
        champion=None,
        ledger=HoldoutLedger(root / "ledger"),
        gate=GATE,
        cross=CrossValidation((), {}, ("left out of small studies",)),
    )
    rows = {row.name: row for row in report.rows}
    test = report.ft_against_mlp.test if report.ft_against_mlp else None
    line = Line(
        kind=job.kind,
        seed=job.seed,
        arm=report.candidate_arm,
        outcome=report.verdict.outcome,
        incumbent=report.verdict.incumbent,
        sharpe=rows[report.candidate].performance.annual_sharpe,
        interval=rows[report.candidate].interval,
        equal_weight=rows["equal_weight"].performance.annual_sharpe,
        superior=len(report.superior.superior),
        trials=len(report.superior.trials),
        failing=" ".join(sorted({clause.name for clause in report.verdict.failing})) or "none",
        ft_less_mlp=test.difference if test else None,
        bars=report.verdict.bars,
        core_seconds=round(time.process_time() - began, 1),
    )
    write_json(done, line)
    return line


def made(job: SmallStudy, root: Path) -> Dataset:
    """The study's market, frozen: one fold, so that a study takes half a minute of training."""
    if job.bars is not None:
        universe = Universe(quote=job.quote)
        source = files_source(job.bars, universe)
        start, end = source.coverage(universe)
        market = MarketTable.from_panel(markets.panel(source, universe, start=start, end=end))
        market, shift = shifted(market, seed=job.seed, bars_per_day=universe.bars_per_year / 365)
        identity = {**source.identity(), "demeaned and shifted by bars": shift}
        label = f"{source.label}, placebo: demeaned, shifted by {shift} bars"
    else:
        universe = Universe()
        simulated = SimulatedSource(seed=job.seed, variant="placebo" if job.kind == "placebo" else "planted")
        market = MarketTable.from_panel(markets.panel(simulated, universe, start=markets.START, end=markets.END))
        identity, label = simulated.identity(), simulated.label
    return freeze_dataset(
        root,
        market=market,
        splits=make_splits(len(market), SPLITS),
        label=label,
        source=identity,
        bars_manifest="made for a benchmark",
        bars_per_year=universe.bars_per_year,
    )


def shifted(market: MarketTable, *, seed: int, bars_per_day: float) -> tuple[MarketTable, int]:
    """`market` with its features in place and its paid returns moved against them -> (market, bars moved by).

    Every ticker's simple return from close to close has its mean taken off, so that holding earns nothing on the whole;
    then all tickers are rolled together by 30 days or more, either way. What happens within a bar moves along.
    """
    least = round(SHORTEST_SHIFT_DAYS * bars_per_day)
    rows = len(market)
    if rows <= 2 * least:
        raise ValueError(f"{rows} bars cannot be moved by {least} and more either way; give a longer range")
    shift = int(np.random.default_rng(derive_seed(seed, "shift")).integers(least, rows - least + 1))
    simple = market.close[1:] / market.close[:-1] - 1.0
    simple = np.roll(simple - simple.mean(axis=0), shift, axis=0)
    to_open = np.roll(market.open[1:] / market.close[:-1], shift, axis=0)
    close = market.close[0] * np.cumprod(np.concatenate([np.ones((1, simple.shape[1])), 1.0 + simple]), axis=0)
    opened = np.concatenate([market.open[:1], close[:-1] * to_open])
    tradable = np.concatenate([market.tradable[:1], np.roll(market.tradable[1:], shift, axis=0)])
    moved = MarketTable(
        schema=market.schema,
        timestamps=market.timestamps,
        features=market.features,
        open=opened,
        close=close,
        tradable=tradable,
        warm_up=market.warm_up,
    )
    return moved, shift


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="keeps finished studies")
    parser.add_argument("--bars", type=Path, help="folder of real bars for half of the placebos")
    parser.add_argument("--quote", default="USDT", help="quote currency of those files")
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--placebo", type=int, default=20, help="half of them on real bars if there are any")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    real = given.placebo // 2 if given.bars else 0
    jobs = [SmallStudy(kind="planted", seed=FIRST_SEED + i, state=given.state) for i in range(given.planted)]
    jobs += [SmallStudy(kind="placebo", seed=FIRST_SEED + i, state=given.state) for i in range(given.placebo - real)]
    jobs += [
        SmallStudy(kind="real placebo", seed=FIRST_SEED + i, bars=given.bars, quote=given.quote, state=given.state)
        for i in range(real)
    ]
    print(
        f"{'market':13}{'seed':>5}  {'outcome':13}{'candidate':14}{'against':13}{'Sharpe':>7}{'95% interval':>18}"
        f"{'equal w.':>9}{'superior':>9}{'FT-MLP':>8}{'core s':>8}  failing"
    )
    lines = []
    for _, line in run_jobs(run, jobs, workers=given.workers):
        lines.append(line)
        between = "none" if line.interval is None else f"{line.interval[0]:+.2f} .. {line.interval[1]:+.2f}"
        difference = "-" if line.ft_less_mlp is None else f"{line.ft_less_mlp:+.2f}"
        print(
            f"{line.kind:13}{line.seed:>5}  {line.outcome:13}{line.arm:14}{line.incumbent:13}{line.sharpe:>+7.2f}"
            f"{between:>18}{line.equal_weight:>+9.2f}{f'{line.superior} of {line.trials}':>9}{difference:>8}"
            f"{line.core_seconds:>8.1f}  {line.failing}",
            flush=True,
        )
    counts = {
        kind: {
            outcome: sum((line.kind, line.outcome) == (kind, outcome) for line in lines)
            for outcome in ("win", "inconclusive", "reject")
        }
        for kind in dict.fromkeys(job.kind for job in jobs)
    }
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
