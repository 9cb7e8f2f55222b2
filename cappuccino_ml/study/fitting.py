"""Fit one agent on one span of rows and measure it on a later one: the whole of a worker's job."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cappuccino_ml.core import (
    CheckpointError,
    DataError,
    Settings,
    artifact_folder,
    derive_seed,
    digest,
    is_done,
    read_json,
    read_settings,
    write_json,
)
from cappuccino_ml.encoder import load_encoder
from cappuccino_ml.environment import CPU, Backtest, Costs, VectorEnv, backtest
from cappuccino_ml.features import MarketTable, Scaler
from cappuccino_ml.metrics import annual_sharpe, max_drawdown, turnover_per_day
from cappuccino_ml.policy import (
    Actor,
    ActorCritic,
    AgentConfig,
    Iteration,
    TrainingSettings,
    build_agent,
    save_agent,
    train,
)
from cappuccino_ml.study.dataset import Dataset, load_dataset
from cappuccino_ml.study.splits import Span

AGENT = "agent"
RETURNS = "returns.parquet"
RESULT = "result.json"


class FitJob(Settings):
    """Everything a worker needs; equal jobs have equal keys and are done once."""

    dataset_folder: Path
    dataset_key: str
    train_rows: Span
    test_rows: Span | None  # none: fit only, nothing may be measured
    training: TrainingSettings
    seed: int
    encoder_folder: Path | None = None
    encoder_key: str | None = None
    code: str  # version of the code that asked: a worker started later must not name the result otherwise
    root: Path

    @property
    def key(self) -> str:
        """Names the result."""
        identity = self.model_dump(mode="json", exclude={"dataset_folder", "encoder_folder", "root"})
        return digest(identity)[:16]

    @property
    def folder(self) -> Path:
        """Where the result is, or will be."""
        return self.root / self.key


class FitResult(Settings):
    """What came of a job, measured net on its test rows; all zero where there were none."""

    job_key: str
    agent_key: str
    sharpe: float
    turnover_per_day: float
    max_drawdown: float
    bars: int
    steps: int
    parameters: int


def fit(
    job: FitJob, *, device: torch.device = CPU, on_iteration: Callable[[Iteration], None] | None = None
) -> FitResult:
    """Train, store the agent, backtest it on the test rows, store the returns.

    A finished job is only read, a killed one goes on where its training was last saved.

    Args:
        job: what to do.
        device: where to train; what is stored and measured is on the CPU. It is no part of the job's identity, though
            a GPU rounds otherwise.
        on_iteration: told after every update of PPO.

    Raises:
        CheckpointError: the pre-trained encoder was fitted on rows or data this job must not use.
        DataError: the test rows begin closer to the training rows than the data set's gap.
        LakeError: the data set is altered, or not the one the job names.
    """
    if not is_done(job.folder):
        dataset = load_dataset(job.dataset_folder, key=job.dataset_key)
        agent, config, history = _train(job, dataset, device=device, on_iteration=on_iteration)
        with artifact_folder(job.folder) as aside:
            lookback = job.training.agent.lookback
            example = dataset.market.features[job.train_rows[1] - lookback + 1 : job.train_rows[1] + 1]
            config = save_agent(aside / AGENT, agent=agent, config=config, history=history, example_window=example)
            measured = _measure(Actor(agent=agent, config=config), dataset, job.test_rows)
            bars_per_year = dataset.config.bars_per_year
            result = FitResult(
                job_key=job.key,
                agent_key=config.key,
                sharpe=annual_sharpe(measured.returns, bars_per_year) if measured else 0.0,
                turnover_per_day=turnover_per_day(measured.turnover, bars_per_year) if measured else 0.0,
                max_drawdown=max_drawdown(measured.returns) if measured else 0.0,
                bars=len(measured.returns) if measured else 0,
                steps=history[-1].steps,
                parameters=sum(parameter.numel() for parameter in agent.parameters()),
            )
            if measured and job.test_rows:
                stamps = dataset.market.timestamps[job.test_rows[0] : job.test_rows[1]]
                pd.DataFrame(
                    {
                        "timestamp": stamps,
                        "net_return": measured.returns,
                        "turnover": measured.turnover,
                        "exposure": measured.weights.sum(-1),
                    }
                ).to_parquet(aside / RETURNS)
            write_json(
                aside / "job.json", job.model_dump(mode="json", exclude={"dataset_folder", "encoder_folder", "root"})
            )
            write_json(aside / RESULT, result)
    return read_settings(FitResult, job.folder / RESULT)


def measure(actor: Actor, market: MarketTable, rows: Span, *, costs: Costs | None = None, lag: int = 0) -> Backtest:
    """Backtest `actor` over `rows` on its own guards and costs, or on dearer `costs`."""
    first, last = rows
    return backtest(
        act=actor.over(market, first=first, last=last),
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=first,
        last=last,
        guards=actor.guards,
        costs=costs or actor.costs,
        lag=lag,
    )


def read_bars(folder: Path) -> pd.DataFrame:
    """What a finished job stored per bar: `timestamp`, `net_return`, `turnover` and `exposure`, shares of equity."""
    return pd.read_parquet(folder / RETURNS)


def read_returns(folder: Path) -> NDArray[np.float64]:
    """Net return per bar that a finished job stored."""
    return read_bars(folder)["net_return"].to_numpy(dtype=np.float64)


def read_learning_curve(folder: Path) -> list[Iteration]:
    """PPO iterations of a finished job."""
    return [Iteration.model_validate(entry) for entry in read_json(folder / AGENT / "training_history.json")]


def _measure(actor: Actor, dataset: Dataset, rows: Span | None) -> Backtest | None:
    return measure(actor, dataset.market, rows) if rows is not None else None


def _train(
    job: FitJob, dataset: Dataset, *, device: torch.device, on_iteration: Callable[[Iteration], None] | None
) -> tuple[ActorCritic, AgentConfig, list[Iteration]]:
    market, (first, last) = dataset.market, job.train_rows
    if job.test_rows is not None and job.test_rows[0] - last < dataset.splits.gap:
        raise DataError(
            f"training ends at row {last} and testing starts at {job.test_rows[0]}, but a gap of "
            f"{dataset.splits.gap} bars must lie between them; use the data set's own splits."
        )
    schema, settings = market.schema, job.training
    # Fitted on the training rows only; a row is known at its close, and row `last` is only marked.
    scaler = Scaler.fit(market.features, slice(first, last), schema=schema)
    tickers, features = len(schema.tickers), len(schema.features)
    agent = build_agent(settings.agent, tickers=tickers, features=features, seed=derive_seed(job.seed, "weights"))
    if settings.agent.arm == "ft_pretrained":
        scaler = _load_pretrained(job, dataset, agent)
    env = VectorEnv(
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=first,
        last=last,
        layout=settings.layout,
        guards=settings.guards,
        costs=settings.costs,
        reward=settings.reward,
        seed=derive_seed(job.seed, "environments"),
        device=device,
    )
    history = train(
        agent.to(device),
        market=torch.from_numpy(market.scaled(scaler)).to(device),
        env=env,
        settings=settings.ppo,
        seed=derive_seed(job.seed, "exploration"),
        resume=job.root / f".{job.key}.resume",
        on_iteration=on_iteration,
    )
    config = AgentConfig(
        training=settings,
        feature_schema=schema,
        scaler=scaler,
        dataset_key=dataset.key,
        rows=job.train_rows,
        trained_until=dataset.time(last),
        seed=job.seed,
        encoder_key=job.encoder_key,
        code=job.code,
    )
    return agent.cpu(), config, history


def _load_pretrained(job: FitJob, dataset: Dataset, agent: ActorCritic) -> Scaler:
    """Put the pre-trained encoder into actor and critic -> its scaler: the policy sees the scale the encoder saw."""
    if job.encoder_folder is None:
        raise CheckpointError(
            "arm ft_pretrained was given no pre-trained encoder; materialize pretrained_encoder first."
        )
    loaded = load_encoder(job.encoder_folder, expected=dataset.market.schema)
    origin = loaded.config
    if origin.dataset_key != dataset.key or origin.last >= job.train_rows[1]:
        raise CheckpointError(
            f"the encoder in {job.encoder_folder} was fitted on rows {origin.first}..{origin.last} of data set "
            f"{origin.dataset_key}, this agent may use rows before {job.train_rows[1]} of {dataset.key}; "
            "pre-train one for this fold."
        )
    weights = loaded.encoder.state_dict()
    agent.actor_encoder.load_state_dict(weights)
    agent.critic_encoder.load_state_dict(weights)
    return origin.scaler
