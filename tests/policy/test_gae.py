"""The fast advantages against the sum they stand for."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.policy.gae import gae


def plain(reward, value, terminated, gamma, gae_lambda):
    """Definition (16) of Schulman et al. 2016, summed term by term; a terminated step is the last one of its sum."""
    steps, books, tickers = reward.shape
    advantage = np.zeros(reward.shape)
    for start, book, ticker in np.ndindex(steps, books, tickers):
        weight = 1.0
        for step in range(start, steps):
            ahead = 0.0 if terminated[step, book] else value[step + 1, book, ticker]
            delta = reward[step, book, ticker] + gamma * ahead - value[step, book, ticker]
            advantage[start, book, ticker] += weight * delta
            if terminated[step, book]:
                break
            weight *= gamma * gae_lambda
    return advantage


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), gamma=st.floats(0, 1), gae_lambda=st.floats(0, 1))
def test_gae_equals_a_plain_loop(seed, gamma, gae_lambda):
    random = np.random.default_rng(seed)
    reward, value = random.standard_normal((9, 3, 2)), random.standard_normal((10, 3, 2))
    terminated = random.random((9, 3)) < 0.2
    fast = gae(
        reward=torch.from_numpy(reward),
        value=torch.from_numpy(value),
        terminated=torch.from_numpy(terminated),
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    np.testing.assert_allclose(fast.numpy(), plain(reward, value, terminated, gamma, gae_lambda), atol=1e-9)


def test_a_time_limit_bootstraps_and_ruin_does_not():
    reward, value = torch.zeros(1, 2, 1), torch.tensor([[[0.0], [0.0]], [[5.0], [5.0]]])
    terminated = torch.tensor([[False, True]])
    assert gae(reward=reward, value=value, terminated=terminated, gamma=0.5, gae_lambda=1).flatten().tolist() == [
        2.5,
        0,
    ]
