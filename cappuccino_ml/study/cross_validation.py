"""Finalists through combinatorial purged cross-validation: 15 fits a seed, put together into 5 paths over development.

Training rows lie before and after the tested ones, so a path is no backtest of what could have been traded: it says how
much a configuration's result owes to the stretch of market and to the luck of one training.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field

from cappuccino_ml.core import (
    CappuccinoError,
    CheckpointError,
    DataError,
    Settings,
    artifact_folder,
    code_version,
    derive_seed,
    digest,
    is_done,
    write_json,
)
from cappuccino_ml.encoder import PretrainingSettings, load_encoder
from cappuccino_ml.environment import SegmentedEnv
from cappuccino_ml.features import Scaler
from cappuccino_ml.policy import AGENT_ROOMS, Actor, AgentConfig, Arm, TrainingSettings, build_agent, train
from cappuccino_ml.study.combinatorial import CombinatorialSplit, assemble_paths, combinatorial_splits
from cappuccino_ml.study.dataset import Dataset, load_dataset
from cappuccino_ml.study.encoders import EncoderJob, fit_encoder
from cappuccino_ml.study.fitting import RETURNS, measure
from cappuccino_ml.study.runner import TrialResult
from cappuccino_ml.study.splits import Span
from cappuccino_ml.study.workers import run_jobs

Floats = NDArray[np.float64]


class CrossValidationSettings(Settings):
    """How finalists are cross-validated."""

    seeds: int = Field(0, ge=0, description="trainings of every split; 0 leaves cross-validation out")
    groups: int = Field(6, ge=2, description="equal parts of the development rows")
    test_groups: int = Field(2, ge=1, description="parts tested at a time")


class CrossFitJob(Settings):
    """One fit on a list of segments, measured on others; equal jobs have equal keys and are done once."""

    dataset_folder: Path
    dataset_key: str
    train: tuple[Span, ...]
    test: tuple[Span, ...]
    training: TrainingSettings
    seed: int
    encoder_folder: Path | None = None
    encoder_key: str | None = None
    code: str
    root: Path

    @property
    def key(self) -> str:
        """Names the result."""
        return digest(self.model_dump(mode="json", exclude={"dataset_folder", "encoder_folder", "root"}))[:16]

    @property
    def folder(self) -> Path:
        """Where the result is, or will be."""
        return self.root / self.key


class CrossFit(Settings):
    """Whether a fit is there, or why not."""

    error: str | None = None


@dataclass(frozen=True)
class CrossPaths:
    """One finalist: net simple returns per bar of the development rows, by seed and path."""

    trial: int
    arm: Arm
    returns: Floats  # [seeds, bars, paths]
    folder: Path  # the same as a table


@dataclass(frozen=True)
class CrossValidation:
    """The finalists that were cross-validated, by side, and why others were not."""

    segments: tuple[Span, ...]  # the groups, in order of time: each path has a fresh book in each
    finalists: Mapping[str, CrossPaths]
    obstacles: tuple[str, ...]


def cross_fit(job: CrossFitJob) -> CrossFit:
    """Train on the segments, measure each test segment with a fresh book, store the returns; a killed fit goes on.

    The agent itself is not kept: it has seen bars after those it is measured on, so it must never trade.

    Raises:
        CheckpointError: the pre-trained encoder was fitted on other data or on rows outside the training segments.
    """
    if is_done(job.folder):
        return CrossFit()
    dataset = load_dataset(job.dataset_folder, key=job.dataset_key)
    market = dataset.market
    try:
        actor = _trained(job, dataset)
    except CheckpointError:
        raise
    except CappuccinoError as error:  # a diverged fit is a finding about its settings
        return CrossFit(error=str(error))
    parts = []
    for rows in job.test:
        run = measure(actor, market, rows)
        parts.append(
            pd.DataFrame(
                {
                    "row": np.arange(*rows),
                    "timestamp": market.timestamps[rows[0] : rows[1]],
                    "net_return": run.returns,
                    "turnover": run.turnover,
                    "exposure": run.weights.sum(-1),
                }
            )
        )
    with artifact_folder(job.folder) as aside:
        pd.concat(parts, ignore_index=True).to_parquet(aside / RETURNS)
        identity = job.model_dump(mode="json", exclude={"dataset_folder", "encoder_folder", "root"})
        write_json(aside / "job.json", identity)
    return CrossFit()


def cross_validate(
    dataset: Dataset,
    trials: Mapping[str, TrialResult],
    settings: CrossValidationSettings,
    *,
    pretraining: PretrainingSettings,
    seed: int,
    encoders_root: Path,
    root: Path,
    workers: int,
    say: Callable[[str], None],
) -> CrossValidation:
    """Run the fits that are not finished yet and assemble the paths.

    Seed k of two finalists meets the same start rows, books and exploration noise in each split, so they are paired.

    Args:
        dataset: frozen data; only its development rows are used.
        trials: the finalists' by side.
        settings: seeds and groups.
        pretraining: of the encoders of an ft_pretrained finalist, one per split, fitted on its longest segment.
        seed: the study's.
        encoders_root: folder of encoders.
        root: folder of this study's cross-validation.
        workers: parallel processes. They change the wall time, not the result.
        say: told one line per finished fit.
    """
    if settings.seeds == 0:
        return CrossValidation((), {}, ("left out at this budget: it takes 15 fits per finalist and seed",))
    span, gap = dataset.splits.development, dataset.splits.gap
    try:
        splits = combinatorial_splits(span, gap=gap, groups=settings.groups, test_groups=settings.test_groups)
        for side, trial in trials.items():
            _require_episodes(splits, trial, side=side)
    except DataError as error:
        return CrossValidation((), {}, (str(error),))
    jobs: dict[tuple[str, int, int], CrossFitJob] = {}
    for side, trial in trials.items():
        encoders = _encoders(dataset, splits, trial, pretraining, seed=seed, root=encoders_root)
        if encoders:
            for encoder, _ in run_jobs(fit_encoder, encoders, workers=workers):
                say(f"encoder {encoder.name} of finalist {side}")
        for index, split in enumerate(splits):
            for repeat in range(settings.seeds):
                jobs[side, repeat, index] = CrossFitJob(
                    dataset_folder=dataset.folder,
                    dataset_key=dataset.key,
                    train=split.train,
                    test=split.test,
                    training=trial.training,
                    seed=derive_seed(seed, "cross-validation", repeat, index),
                    encoder_folder=encoders[index].folder if encoders else None,
                    encoder_key=encoders[index].key if encoders else None,
                    code=code_version(*AGENT_ROOMS, "study"),
                    root=root,
                )
    errors: dict[str, str] = {}
    places = {job.key: place for place, job in jobs.items()}
    for done, (job, outcome) in enumerate(run_jobs(cross_fit, jobs.values(), workers=workers), start=1):
        side, repeat, index = places[job.key]
        what = f"cross-validation {done}/{len(jobs)}  {side}, seed {repeat}, split {index}"
        say(what if outcome.error is None else f"{what} failed: {outcome.error}")
        if outcome.error is not None:
            errors.setdefault(side, f"{side}, seed {repeat}, split {index}: {outcome.error}")
    finalists = {
        side: _assembled(dataset, splits, trial, jobs=jobs, side=side, seeds=settings.seeds)
        for side, trial in trials.items()
        if side not in errors
    }
    segments = tuple(sorted({segment for split in splits for segment in split.test}))
    return CrossValidation(segments, finalists, tuple(errors.values()))


def _require_episodes(splits: tuple[CombinatorialSplit, ...], trial: TrialResult, *, side: str) -> None:
    episode = trial.training.layout.episode_bars
    shortest = min(max(last - first for first, last in split.train) for split in splits)
    if shortest < episode:
        raise DataError(
            f"the longest training segment of a combinatorial split has {shortest} bars, but an episode of finalist "
            f"{side} has {episode}; give a longer range of bars."
        )


def _encoders(
    dataset: Dataset,
    splits: tuple[CombinatorialSplit, ...],
    trial: TrialResult,
    pretraining: PretrainingSettings,
    *,
    seed: int,
    root: Path,
) -> list[EncoderJob]:
    """One per split, on its longest training segment; none where the arm starts from nothing."""
    shape = trial.training.agent.encoder
    if trial.arm != "ft_pretrained" or shape is None:
        return []
    return [
        EncoderJob(
            name=f"split-{index}",
            dataset_folder=dataset.folder,
            dataset_key=dataset.key,
            rows=max(split.train, key=lambda span: span[1] - span[0]),
            encoder=shape,
            pretraining=pretraining,
            seed=derive_seed(seed, "encoder", "cross-validation", index),
            code=code_version("features", "encoder"),
            root=root,
        )
        for index, split in enumerate(splits)
    ]


def _assembled(
    dataset: Dataset,
    splits: tuple[CombinatorialSplit, ...],
    trial: TrialResult,
    *,
    jobs: Mapping[tuple[str, int, int], CrossFitJob],
    side: str,
    seeds: int,
) -> CrossPaths:
    """The paths of one finalist, and the same on disk."""
    span = dataset.splits.development
    returns = []
    for repeat in range(seeds):
        measured: dict[tuple[int, int], Floats] = {}
        for index, split in enumerate(splits):
            table = pd.read_parquet(jobs[side, repeat, index].folder / RETURNS).set_index("row")["net_return"]
            for group, (first, last) in zip(split.test_groups, split.test, strict=True):
                measured[index, group] = table.loc[first : last - 1].to_numpy(dtype=np.float64)
        returns.append(assemble_paths(splits, measured))
    mine = [job for (of, _, _), job in jobs.items() if of == side]
    folder = mine[0].root / f"paths-{digest([job.key for job in mine])[:16]}"
    if not is_done(folder):
        with artifact_folder(folder) as aside:
            columns = {
                f"seed {s}, path {p}": paths[:, p] for s, paths in enumerate(returns) for p in range(paths.shape[1])
            }
            frame = pd.DataFrame({"timestamp": dataset.market.timestamps[span[0] : span[1]], **columns})
            frame.to_parquet(aside / RETURNS)
    return CrossPaths(trial=trial.number, arm=trial.arm, returns=np.stack(returns), folder=folder)


def _trained(job: CrossFitJob, dataset: Dataset) -> Actor:
    market, settings = dataset.market, job.training
    inside = np.zeros(len(market), dtype=bool)
    for first, last in job.train:
        inside[first:last] = True
    for first, last in job.test:
        if inside[max(0, first - dataset.splits.gap) : last + dataset.splits.gap].any():
            raise DataError(f"test rows {first}..{last} lie closer to training rows than {dataset.splits.gap} bars.")
    scaler = Scaler.fit(market.features, inside, schema=market.schema)
    tickers, features = len(market.schema.tickers), len(market.schema.features)
    agent = build_agent(settings.agent, tickers=tickers, features=features, seed=derive_seed(job.seed, "weights"))
    if settings.agent.arm == "ft_pretrained":
        if job.encoder_folder is None:
            raise CheckpointError("an ft_pretrained finalist was given no encoder for its split.")
        loaded = load_encoder(job.encoder_folder, expected=market.schema)
        origin = loaded.config
        if origin.dataset_key != dataset.key or not inside[origin.first : origin.last + 1].all():
            raise CheckpointError(
                f"the encoder in {job.encoder_folder} was fitted on rows {origin.first}..{origin.last} of data set "
                f"{origin.dataset_key}, not all of them training rows of this split of {dataset.key}."
            )
        agent.actor_encoder.load_state_dict(loaded.encoder.state_dict())
        agent.critic_encoder.load_state_dict(loaded.encoder.state_dict())
        scaler = origin.scaler
    env = SegmentedEnv(
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        segments=job.train,
        layout=settings.layout,
        guards=settings.guards,
        costs=settings.costs,
        reward=settings.reward,
        seed=derive_seed(job.seed, "environments"),
    )
    train(
        agent,
        market=torch.from_numpy(market.scaled(scaler)),
        env=env,
        settings=settings.ppo,
        seed=derive_seed(job.seed, "exploration"),
        resume=job.root / f".{job.key}.resume",
    )
    outermost = (job.train[0][0], job.train[-1][1])
    config = AgentConfig(
        training=settings,
        feature_schema=market.schema,
        scaler=scaler,
        dataset_key=dataset.key,
        rows=outermost,
        trained_until=dataset.time(outermost[1]),
        seed=job.seed,
        encoder_key=job.encoder_key,
        code=job.code,
    )
    return Actor(agent=agent, config=config)
