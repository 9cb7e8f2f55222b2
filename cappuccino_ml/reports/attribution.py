"""What drives a trained agent's decisions: integrated gradients of its actions, and where its encoder looks.

It stands in this room and not in `policy`, whose code names trained agents: explaining one must not rename it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cappuccino_ml.core import (
    CheckpointError,
    Settings,
    artifact_folder,
    code_version,
    digest,
    is_done,
    read_settings,
    write_json,
)
from cappuccino_ml.encoder import FTTransformerEncoder, attention_rollout, integrated_gradients, windows
from cappuccino_ml.environment import backtest
from cappuccino_ml.features import MarketTable
from cappuccino_ml.policy import AGENT_ROOMS, Actor, ActorCritic, AgentConfig, load_agent

TOLERANCE = 0.02  # of what the actions change by; attributions that miss more do not add up
_FIRST_STEPS, _MOST_STEPS = 32, 512  # points on the path, doubled until the attributions add up
_RESULT = "attribution.json"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effects:
    """Attributions of N actions to N tickers' F features, over a sample of moments."""

    sizes: Floats  # [N acted on, N read, F], mean absolute integrated gradients, units of the action
    change: Floats  # [N], mean absolute difference of an action to its value at the baseline
    error: float  # what the attributions miss, over what the actions change by; 0 if nothing changes
    steps: int  # points on the path


class Driver(Settings):
    """One series and its share of what changes the actions."""

    ticker: str
    feature: str
    share: float


class Attribution(Settings):
    """What drives one agent's decisions. Nested tuples hold the arrays, so that JSON keeps them."""

    agent_key: str
    arm: str
    tickers: tuple[str, ...]
    features: tuple[str, ...]
    rows: tuple[int, int]  # of its data set; the moments are drawn from first..last - 1
    moments: int
    seed: int
    steps: int  # as in Effects, likewise the next three
    completeness_error: float
    change: tuple[float, ...]
    sizes: tuple[tuple[tuple[float, ...], ...], ...]
    rollout: tuple[tuple[float, ...], ...] | None  # [N, F], mean attention rollout; none without an FT-Transformer

    def shares(self) -> Floats:
        """`sizes` over their sum: [N acted on, N read, F]; all 0 for an agent that features do not move."""
        sizes = np.array(self.sizes)
        total = float(sizes.sum())
        return sizes / total if total > 0 else sizes

    @property
    def adds_up(self) -> bool:
        """Whether the attributions are what the actions change by, to within `TOLERANCE`."""
        return self.completeness_error <= TOLERANCE

    def attention(self) -> Floats | None:
        """`rollout` over its sum [N, F]: how the part of attention that goes to the market is divided."""
        return None if self.rollout is None else np.array(self.rollout) / np.sum(self.rollout)

    def by_feature(self) -> dict[str, float]:
        """Share of each feature, over all tickers read and acted on, largest first."""
        shares = dict(zip(self.features, self.shares().sum(axis=(0, 1)).tolist(), strict=True))
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def drivers(self, count: int = 5) -> list[Driver]:
        """The series with the largest shares over all actions, largest first."""
        shares = self.shares().sum(axis=0)
        order = np.argsort(-shares, axis=None, kind="stable")[:count]
        return [
            Driver(ticker=self.tickers[row], feature=self.features[column], share=float(shares[row, column]))
            for row, column in zip(*np.unravel_index(order, shares.shape), strict=True)
        ]


def attribute_actions(
    agent: ActorCritic, market: Tensor, entries: Tensor, *, tolerance: float = TOLERANCE, batch: int = 32
) -> Effects:
    """Integrated gradients (Sundararajan et al. 2017) of every ticker's mean action; the book is held fixed.

    The path leads from the mean of every scaled feature (0) to the window, and the action is taken before it is
    clamped to [-1, 1]: beyond the clamp nothing would have an effect. The points on the path are doubled, at most to
    512, until the attributions add up to what the actions change by; the caller reads from `error` whether they do.

    Args:
        agent: in eval mode; any arm, late or joint fusion.
        market: scaled windows [B, L, N, F].
        entries: cash share and weights of the book at each moment [B, 1 + N].
        tolerance: how much may be missing: sum |found - change| <= tolerance * sum |change|.
        batch: moments at a time; memory grows with it and with nothing else.
    """
    steps = _FIRST_STEPS
    while (found := _effects(agent, market, entries, steps=steps, batch=batch)).error > tolerance:
        if steps == _MOST_STEPS:
            break
        steps *= 2
    return found


def explain_agent(
    agent: ActorCritic,
    config: AgentConfig,
    market: MarketTable,
    *,
    rows: tuple[int, int],
    moments: int = 256,
    seed: int = 0,
) -> Attribution:
    """What drives an agent's decisions on a random sample of moments, each with the book the agent held there.

    Args:
        agent: as `load_agent` gives it, with its `config`.
        config: names it; its scaler and schema are used.
        market: unscaled features and prices.
        rows: first and one past the last row to draw moments from; the agent trades through them to have its books.
        moments: sample size, without repetition; all rows if there are fewer.
        seed: of the sample; the same seed gives the same numbers.

    Raises:
        SchemaMismatch: the agent was trained on another schema than the market's.
    """
    first, last = rows
    lookback = config.training.agent.lookback
    policy, books = Actor(agent=agent, config=config).over(market, first=first, last=last), []

    def act(t: int, entries: NDArray[np.float32]) -> Floats:
        books.append(torch.from_numpy(entries.copy()))
        return policy(t, entries)

    backtest(
        act=act,
        open_=market.open,
        close=market.close,
        tradable=market.tradable,
        first=first,
        last=last,
        guards=config.training.guards,
        costs=config.training.costs,
    )
    drawn = np.random.default_rng(seed).choice(last - first, min(moments, last - first), replace=False)
    sample = torch.from_numpy(np.sort(drawn))
    window = windows(torch.from_numpy(market.scaled(config.scaler)), sample + first, lookback)
    entries = torch.stack(books)[sample]
    effects = attribute_actions(agent, window, entries)
    return Attribution(
        agent_key=config.key,
        arm=config.training.agent.arm,
        tickers=market.schema.tickers,
        features=market.schema.features,
        rows=rows,
        moments=len(sample),
        seed=seed,
        steps=effects.steps,
        completeness_error=effects.error,
        change=tuple(effects.change.tolist()),
        sizes=effects.sizes.tolist(),
        rollout=_rollout(agent, window, entries),
    )


class AttributionJob(Settings):
    """One agent to explain on one span of rows; equal jobs have equal keys and are done once."""

    agent_folder: Path
    agent_key: str
    dataset_key: str
    rows: tuple[int, int]
    moments: int = 256
    seed: int
    root: Path

    @property
    def key(self) -> str:
        """Names the result: of agent, data, rows, sample and code."""
        identity = self.model_dump(mode="json", exclude={"agent_folder", "root"})
        return digest(identity | {"code": code_version(*AGENT_ROOMS, "reports")})[:16]

    @property
    def folder(self) -> Path:
        """Where the result is, or will be."""
        return self.root / self.key


def explain(job: AttributionJob, market: MarketTable) -> Attribution:
    """`explain_agent`, stored; a finished job is only read.

    Args:
        job: what to do.
        market: of the data set that the job names.

    Raises:
        SchemaMismatch: the agent was trained on another schema than the market's.
        CheckpointError: the agent cannot be loaded, or is not the one that the job names.
    """
    if not is_done(job.folder):
        agent, config = load_agent(job.agent_folder)
        if config.key != job.agent_key:
            raise CheckpointError(
                f"{job.agent_folder} holds agent {config.key}, not {job.agent_key}; materialize optuna_study again."
            )
        found = explain_agent(agent, config, market, rows=job.rows, moments=job.moments, seed=job.seed)
        with artifact_folder(job.folder) as aside:
            write_json(aside / "job.json", job.model_dump(mode="json", exclude={"agent_folder", "root"}))
            write_json(aside / _RESULT, found)
    return read_settings(Attribution, job.folder / _RESULT)


def _effects(agent: ActorCritic, market: Tensor, entries: Tensor, *, steps: int, batch: int) -> Effects:
    tickers = entries.shape[1] - 1
    sizes = torch.zeros(tickers, *market.shape[2:], dtype=torch.float64)
    change = torch.zeros(tickers, dtype=torch.float64)
    missed = 0.0
    for begin in range(0, len(market), batch):
        window, held = market[begin : begin + batch], entries[begin : begin + batch]
        with torch.no_grad():
            changed = _actions(agent, window, held) - _actions(agent, torch.zeros_like(window), held)
        change += changed.abs().double().sum(0)
        for ticker in range(tickers):
            found = integrated_gradients(
                lambda x, held=held, ticker=ticker: _actions(agent, x, held)[:, ticker],  # type: ignore[misc]
                window,
                steps=steps,
            )
            sizes[ticker] += found.abs().double().sum(0)
            missed += float((found.sum((1, 2)) - changed[:, ticker]).abs().double().sum())
    whole = float(change.sum())
    return Effects(
        sizes=(sizes / len(market)).numpy(),
        change=(change / len(market)).numpy(),
        error=missed / whole if whole > 0 else 0.0,
        steps=steps,
    )


def _actions(agent: ActorCritic, window: Tensor, entries: Tensor) -> Tensor:
    """Mean actions before the clamp: windows [B, L, N, F] and entries [B, 1 + N] -> [B, N]."""
    lookback = window.shape[1]
    ends = torch.arange(1, len(window) + 1) * lookback - 1  # the windows one after another are a market of B * L rows
    encoding, _ = agent.encode(window.flatten(0, 1), ends)
    return agent.mean_action(encoding, entries.unsqueeze(1))[:, 0]


def _rollout(agent: ActorCritic, window: Tensor, entries: Tensor) -> Any:
    """Mean attention rollout [N, F] of the actor's encoder; none for the mlp, which has no attention."""
    encoder = agent.actor_encoder
    if not isinstance(encoder, FTTransformerEncoder):
        return None
    joint = encoder.settings.fusion == "joint"
    return attention_rollout(encoder, window, entries if joint else None).double().mean(0).tolist()
