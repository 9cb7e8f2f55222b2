"""Sample efficiency: the three arms trained for the same numbers of steps, with the same settings, rows and seeds.

Every point of a curve is a training of its own whose learning rate falls to zero at its last step: what so many steps
buy, not what a longer training happens to be worth on its way. Nothing is tuned per arm and the holdout is not touched.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cappuccino_ml.core import Settings
from cappuccino_ml.policy import AgentSettings, Arm
from cappuccino_ml.study.dataset import Dataset
from cappuccino_ml.study.encoders import EncoderJob
from cappuccino_ml.study.equal_trainings import EqualTrainings, seeded_jobs
from cappuccino_ml.study.fitting import FitJob, fit, read_returns
from cappuccino_ml.study.splits import Fold
from cappuccino_ml.study.workers import run_jobs

ARMS: tuple[Arm, ...] = ("mlp", "ft_scratch", "ft_pretrained")


class ComparisonSettings(EqualTrainings):
    """What is compared. The pre-trained encoder gives the FT arms their shape and all arms their lookback."""

    arms: tuple[Arm, ...] = ARMS
    steps: tuple[int, ...] = Field((50_000, 300_000), description="environment steps, each a training of its own")
    freeze_encoder: bool = Field(False, description="of ft_pretrained; ft_scratch always learns its encoder")


class ArmRun(Settings):
    """One training, measured net of costs on rows it never saw."""

    arm: Arm
    steps: int
    market: str  # data set key
    seed: int  # 0, 1, ...
    sharpe: float  # annual
    turnover_per_day: float
    max_drawdown: float
    bars: int  # measured
    parameters: int
    job_key: str


class Comparison(Settings):
    """All runs, by arm, steps, market and seed."""

    label: str
    settings: ComparisonSettings
    encoder_r2: dict[str, float]  # market -> masked R2 of the encoder that ft_pretrained began with
    bars_per_year: float
    runs: tuple[ArmRun, ...]

    def of(self, arm: Arm, steps: int) -> tuple[ArmRun, ...]:
        """The runs of one point, in one order for all points: run k of two points shares market and seed."""
        return tuple(run for run in self.runs if (run.arm, run.steps) == (arm, steps))


def comparison_jobs(
    dataset: Dataset, settings: ComparisonSettings, *, encoder: EncoderJob, fold: Fold, root: Path
) -> dict[tuple[Arm, int, int], FitJob]:
    """The trainings on one data set by (arm, steps, seed).

    Args:
        dataset: frozen data.
        settings: what is compared.
        encoder: the pre-trained encoder, fitted on `fold.train`.
        fold: rows to train on and, after a gap, rows to measure on.
        root: where results go.
    """
    jobs: dict[tuple[Arm, int, int], FitJob] = {}
    for arm in settings.arms:
        agent = AgentSettings(
            arm=arm,
            lookback=encoder.encoder.lookback,
            net_dimension=settings.net_dimension,
            encoder=None if arm == "mlp" else encoder.encoder,
            freeze_encoder=arm == "ft_pretrained" and settings.freeze_encoder,
        )
        for steps in settings.steps:
            seeded = seeded_jobs(
                dataset,
                settings,
                experiment="comparison",
                agent=agent,
                steps=steps,
                fold=fold,
                encoder=encoder,
                root=root,
            )
            jobs |= {(arm, steps, seed): job for seed, job in seeded.items()}
    return jobs


def run_comparison(
    jobs: Iterable[Mapping[tuple[Arm, int, int], FitJob]],
    settings: ComparisonSettings,
    *,
    label: str,
    encoder_r2: Mapping[str, float],
    bars_per_year: float,
    workers: int,
    say: Callable[[str], None],
) -> Comparison:
    """Run what is not finished yet and collect all of it.

    Args:
        jobs: of each market, see `comparison_jobs`.
        settings: what is compared.
        label: source of the bars.
        encoder_r2: masked R2 of the encoders by data set key.
        bars_per_year: of the timeframe.
        workers: parallel processes; they change the wall time, not the result.
        say: told one line per finished training.
    """
    places = {job.key: place for of_market in jobs for place, job in of_market.items()}
    every = [job for of_market in jobs for job in of_market.values()]
    found = []
    for job, result in run_jobs(fit, every, workers=workers):
        arm, steps, seed = places[job.key]
        run = ArmRun(
            arm=arm,
            steps=steps,
            market=job.dataset_key,
            seed=seed,
            sharpe=result.sharpe,
            turnover_per_day=result.turnover_per_day,
            max_drawdown=result.max_drawdown,
            bars=result.bars,
            parameters=result.parameters,
            job_key=job.key,
        )
        found.append(run)
        say(f"{len(found)}/{len(every)}  {arm:<13} {steps:>9,} steps, seed {seed}: net Sharpe {run.sharpe:+.2f}")
    order = list(settings.arms)
    found.sort(key=lambda run: (order.index(run.arm), run.steps, run.market, run.seed))
    return Comparison(
        label=label,
        settings=settings,
        encoder_r2=dict(encoder_r2),
        bars_per_year=bars_per_year,
        runs=tuple(found),
    )


def side_by_side(comparison: Comparison, arm: Arm, steps: int, *, root: Path) -> NDArray[np.float64]:
    """Net return per bar of equal parts of a point's agents, put together anew each bar; markets one after another."""
    of_market: dict[str, list[NDArray[np.float64]]] = {}
    for run in comparison.of(arm, steps):
        of_market.setdefault(run.market, []).append(read_returns(root / run.job_key))
    return np.concatenate([np.mean(returns, axis=0) for returns in of_market.values()])
