"""Proximal policy optimisation, top to bottom. Names are the paper's and CleanRL's.

Details that matter, and why:
- observations are row indices of features that were scaled once, on the training rows: no running statistics that move
  under the policy, and the same numbers in training, backtest and trading;
- minibatches are whole moments with all their books, so an encoder runs once per moment, not once per sample;
- books that share a moment share its luck: their mean advantage says nothing about their actions and is removed;
- advantages (GAE) are normalised per minibatch, rewards divided by the market's own volatility: no scale is hand-tuned;
- a time limit bootstraps, for the market goes on; ruin does not. The end of a rollout bootstraps like a time limit;
- the ratio is clipped ticker by ticker: one ticker that moved far does not silence the six others;
- the value loss is not clipped (Andrychowicz et al. 2021, arXiv 2006.05990, found that to hurt) and weighs little,
  because actor and critic may share an encoder;
- a small entropy bonus keeps the spread from collapsing while costs still teach the policy to hold;
- gradients are clipped by their norm: one hour of a crash must not undo a thousand calm ones;
- epochs stop early when the policy has moved far enough (approx_kl): the rollout no longer speaks of this policy;
- learning rates fall linearly to zero: the last weights are those that are kept, there is no best-of-many choice;
- dropout is off: it would make `ratio` differ from 1 before the first step.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from cappuccino_ml.core import CappuccinoError, Settings
from cappuccino_ml.environment import VectorEnv
from cappuccino_ml.policy.networks import ActorCritic
from cappuccino_ml.policy.resume import Run, identity_of
from cappuccino_ml.policy.rollout import Encodings, Rollout, collect, log_probability
from cappuccino_ml.policy.settings import PPOSettings


class Iteration(Settings):
    """What one rollout and its update looked like."""

    steps: int
    reward_bps: float  # mean log-return per bar, basis points
    turnover: float  # mean per bar, share of equity
    approx_kl: float
    clipfrac: float
    explained_variance: float
    entropy: float
    saturation: float  # share of actions beyond [-1, 1]


def train(
    agent: ActorCritic,
    *,
    market: Tensor,
    env: VectorEnv,
    settings: PPOSettings,
    seed: int,
    on_iteration: Callable[[Iteration], None] | None = None,
    resume: Path | None = None,
    resume_every: int = 8,
) -> list[Iteration]:
    """Train `agent` in place. On one thread the same arguments give the same bytes, killed and resumed or not.

    Args:
        agent: see `build_agent`; on the device of `market` and `env`.
        market: scaled features [T, N, F], the table `env` was made from.
        env: environments over the training rows only.
        settings: see `PPOSettings`; `steps` decides when to stop, never a clock.
        seed: of exploration and minibatch order.
        on_iteration: told after every new update.
        resume: a folder that keeps the state of the run and is removed at its end; a state in it is gone on with.
        resume_every: iterations between two savings there.

    Raises:
        CheckpointError: `resume` holds another run, or was altered.
        CappuccinoError: the loss or its gradient is not finite, the first window would start before the data, or
            prices stand still.
    """
    if env.first < agent.settings.lookback - 1:
        raise CappuccinoError(
            f"row {env.first}, the first of training, has no {agent.settings.lookback} bars up to it; "
            "start later or look back less."
        )
    volatility = env.market_volatility()
    if not volatility > 0:
        raise CappuccinoError(f"the volatility of rows {env.first} to {env.last} is {volatility}; check their prices.")
    agent.eval()
    encoder_ids = {id(p) for p in agent.encoder_parameters()} if agent.settings.encoder else set()
    trainable = [p for p in agent.parameters() if p.requires_grad]
    slow = settings.learning_rate * settings.encoder_learning_rate_ratio
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trainable if id(p) not in encoder_ids], "peak": settings.learning_rate},
            {"params": [p for p in trainable if id(p) in encoder_ids], "peak": slow, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        eps=1e-5,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    random = torch.Generator("cpu").manual_seed(seed)
    identity = identity_of(agent, market, env, settings, seed=seed) if resume is not None else {}
    run = Run(agent=agent, optimizer=optimizer, env=env, random=random, history=[], identity=identity)
    if resume is not None:
        run.load(resume)
    history = [Iteration.model_validate(line) for line in run.history]
    encodings = Encodings(agent, market, first=env.first, last=env.last)
    iterations = -(-settings.steps // env.layout.samples)
    for index in range(len(history), iterations):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * (1.0 - index / iterations)
        rollout = collect(agent, encodings, env, settings, reward_scale=1.0 / volatility, random=random)
        approx_kl, clipfrac = update(agent, encodings, rollout, optimizer, settings, random=random)
        history.append(_report(agent, rollout, steps=(index + 1) * env.layout.samples, kl=approx_kl, clip=clipfrac))
        run.history.append(history[-1].model_dump(mode="json"))
        if resume is not None and (index + 1) % resume_every == 0:
            run.save(resume)
        if on_iteration is not None:
            on_iteration(history[-1])
    if not all(torch.isfinite(parameter).all() for parameter in agent.parameters()):
        raise CappuccinoError(
            f"PPO ended with weights that are not finite at learning_rate {settings.learning_rate}; lower it."
        )
    if resume is not None:
        shutil.rmtree(resume, ignore_errors=True)
    return history


def _report(agent: ActorCritic, rollout: Rollout, *, steps: int, kl: float, clip: float) -> Iteration:
    unexplained = (rollout.target - rollout.value).var() / rollout.target.var().clamp(min=1e-12)
    return Iteration(
        steps=steps,
        reward_bps=float(rollout.reward.sum(-1).mean()) * 1e4,
        turnover=float(rollout.turnover.sum(-1).mean()),
        approx_kl=kl,
        clipfrac=clip,
        explained_variance=1.0 - float(unexplained),
        entropy=float((agent.log_std.detach() + 1.4189385332046727).sum()),
        saturation=float((rollout.action.abs() > 1).float().mean()),
    )


def update(
    agent: ActorCritic,
    encodings: Encodings,
    rollout: Rollout,
    optimizer: torch.optim.Optimizer,
    settings: PPOSettings,
    *,
    random: torch.Generator,
) -> tuple[float, float]:
    """Several epochs over one rollout -> (approx_kl, clipfrac) of the last epoch."""
    moments, books, _ = rollout.advantage.shape
    size = max(1, settings.batch_size // books)
    advantage = rollout.advantage
    if settings.moment_baseline and books > 1:
        advantage = advantage - advantage.mean(1, keepdim=True)
    approx_kl = clipfrac = 0.0
    for _ in range(settings.epochs):
        kls, clips = [], []
        order = torch.randperm(moments, generator=random, device="cpu").to(advantage.device)
        for batch in torch.split(order, size):
            actor_z, critic_z = encodings(rollout.rows[batch])
            mean = agent.mean_action(actor_z, rollout.entries[batch])
            new_value = agent.value(critic_z, rollout.entries[batch])
            logratio = log_probability(rollout.action[batch], mean, agent.log_std) - rollout.log_prob[batch]
            ratio = logratio.exp()

            adv = advantage[batch]
            adv = (adv - adv.mean()) / (adv.std(correction=0) + 1e-8)
            pg_loss = torch.max(-adv * ratio, -adv * ratio.clamp(1 - settings.clip, 1 + settings.clip)).mean()
            v_loss = 0.5 * (new_value - rollout.target[batch]).square().mean()
            entropy = (agent.log_std + 1.4189385332046727).sum()
            loss = pg_loss + settings.value_weight * v_loss - settings.entropy * entropy
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            grad_norm = nn.utils.clip_grad_norm_(agent.parameters(), settings.max_grad_norm)
            if not torch.isfinite(loss + grad_norm):
                raise CappuccinoError(
                    f"PPO's loss is {loss.item()} and its gradient's norm {grad_norm.item()} "
                    f"with learning_rate {settings.learning_rate}; lower it."
                )
            optimizer.step()
            with torch.no_grad():
                kls.append(((ratio - 1) - logratio).sum(-1).mean())
                clips.append(((ratio - 1).abs() > settings.clip).float().mean())
        approx_kl, clipfrac = float(torch.stack(kls).mean()), float(torch.stack(clips).mean())
        if approx_kl > settings.max_kl:
            break
    return approx_kl, clipfrac
