"""Let the current policy trade for a while: row indices and portfolio entries are stored, never windows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cappuccino_ml.environment import VectorEnv
from cappuccino_ml.policy.gae import gae
from cappuccino_ml.policy.networks import ActorCritic
from cappuccino_ml.policy.settings import PPOSettings


@dataclass(frozen=True)
class Rollout:
    """M = steps x groups moments with E books each; one moment is one (step, group)."""

    rows: Tensor  # [M]
    entries: Tensor  # [M, E, 1 + N]
    action: Tensor  # [M, E, N]
    log_prob: Tensor  # [M, E, N]
    advantage: Tensor  # [M, E, N], ticker by ticker
    target: Tensor  # [M, E, N], for the critic
    value: Tensor  # [M, E, N], before the update
    reward: Tensor  # [M, E, N], log-return units, unscaled
    turnover: Tensor  # [M, E, N]


def log_probability(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of each ticker's Gaussian: [..., N] -> [..., N]."""
    z = (action - mean) * torch.exp(-log_std)
    return -0.5 * z.square() - log_std - 0.9189385332046727


@torch.no_grad()
def collect(
    agent: ActorCritic,
    encodings: "Encodings",
    env: VectorEnv,
    settings: PPOSettings,
    *,
    reward_scale: float,
    random: torch.Generator,
) -> Rollout:
    """One rollout of `env` under `agent`, with advantages."""
    layout = env.layout
    steps, groups, books = layout.steps, layout.timestamps, layout.environments
    rows = env.begin_rollout()  # [S + 1, G]: the market does not depend on what we do, so it is known ahead
    actor_z, critic_z = encodings(rows.flatten())
    actor_z, critic_z = agent.actor.project(actor_z), agent.critic.project(critic_z)
    actor_z, critic_z = actor_z.unflatten(0, rows.shape), critic_z.unflatten(0, rows.shape)

    std = agent.log_std.exp()
    # Drawn on the CPU: what is explored does not depend on the device.
    noise = torch.randn(steps, groups, books, len(std), generator=random, device="cpu").to(env.device)
    entries = torch.empty(steps + 1, groups, books, 1 + len(std), device=env.device)
    action = torch.empty(steps, groups, books, len(std), device=env.device)
    mean = torch.empty_like(action)
    reward = torch.empty(steps, layout.books, len(std), dtype=torch.float64, device=env.device)
    turnover = torch.empty_like(reward)
    terminated = torch.empty(steps, layout.books, dtype=torch.bool, device=env.device)
    for step in range(steps):
        entries[step] = env.entries().view(groups, books, -1)
        mean[step] = agent.actor(actor_z[step], entries[step])
        action[step] = mean[step] + std * noise[step]
        outcome = env.step(action[step].flatten(0, 1))
        reward[step], terminated[step], turnover[step] = outcome.reward, outcome.terminated, outcome.turnover
    entries[steps] = env.entries().view(groups, books, -1)

    value = agent.critic(critic_z.flatten(0, 1), entries.flatten(0, 1)).view(steps + 1, layout.books, -1)
    advantage = gae(
        reward=(reward * reward_scale).float(),
        value=value,
        terminated=terminated,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
    )
    target = advantage + value[:-1]
    if settings.exogenous_baseline:
        held = entries[:-1, :, :, 1:].flatten(1, 2)
        luck = env.discounted_returns(rows, discount=settings.gamma * settings.gae_lambda) * reward_scale
        advantage = advantage - held * luck.repeat_interleave(books, dim=1)

    def by_moment(x: Tensor) -> Tensor:
        return x.reshape(steps * groups, books, -1)

    return Rollout(
        rows=rows[:-1].flatten(),
        entries=entries[:-1].flatten(0, 1),
        action=action.flatten(0, 1),
        log_prob=log_probability(action, mean, agent.log_std).flatten(0, 1),
        advantage=by_moment(advantage),
        target=by_moment(target),
        value=by_moment(value[:-1]),
        reward=by_moment(reward),
        turnover=by_moment(turnover),
    )


class Encodings:
    """Encodings of market rows. A frozen encoder is run over the whole table once; then reading is a gather."""

    def __init__(self, agent: ActorCritic, market: Tensor, *, first: int, last: int) -> None:
        """`market` is [T, N, F], scaled; only rows first..last are ever asked for."""
        self._agent, self._market, self._first = agent, market, first
        self._table: tuple[Tensor, Tensor] | None = None
        if agent.settings.freeze_encoder:
            with torch.no_grad():
                asked = torch.arange(first, last + 1, device=market.device)
                parts = [agent.encode(market, rows) for rows in torch.split(asked, 1024)]
            self._table = torch.cat([a for a, _ in parts]), torch.cat([c for _, c in parts])

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """For actor and critic: 2 x [U, encoding_dim]."""
        if self._table is None:
            return self._agent.encode(self._market, rows)
        return self._table[0][rows - self._first], self._table[1][rows - self._first]
