"""Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438)."""

import torch
from torch import Tensor


def gae(*, reward: Tensor, value: Tensor, terminated: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Advantages of S steps of B books, for each of N tickers' rewards.

    Args:
        reward: [S, B, N].
        value: [S + 1, B, N]; the last row bootstraps, which is right at a time limit as in mid-episode.
        terminated: [S, B], True where the episode truly ended (ruin): nothing is bootstrapped past it.
        gamma: discount per bar.
        gae_lambda: trace decay.

    Returns:
        [S, B, N]; add `value[:-1]` for the critic's targets.
    """
    going_on = 1.0 - terminated.to(value.dtype).unsqueeze(-1)
    delta = reward + gamma * value[1:] * going_on - value[:-1]
    advantage = torch.empty_like(delta)
    trace = torch.zeros_like(delta[0])
    for step in range(len(delta) - 1, -1, -1):
        trace = delta[step] + gamma * gae_lambda * going_on[step] * trace
        advantage[step] = trace
    return advantage
