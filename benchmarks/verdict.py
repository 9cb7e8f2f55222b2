"""Statistics of a verdict on 100 trials of two years of hours: StepM, PBO, deflated Sharpe, paired bootstrap."""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from cappuccino_ml.verdict import cscv, overfitting, paired_sharpe_test, superior_set

TARGET_SECONDS = 20.0
TRIALS, BARS, RESAMPLES = 100, 17_520, 4999
HOURLY = 8760.0


def made_returns() -> tuple[np.ndarray, np.ndarray]:
    """Net returns of the trials [T, K] and of equal weight [T], correlated, with fat tails."""
    rng = np.random.default_rng(0)
    market = rng.standard_t(5, BARS)
    own = rng.standard_t(5, (BARS, TRIALS))
    return 0.004 * (np.sqrt(0.8) * market[:, None] + np.sqrt(0.2) * own), 0.004 * market


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    returns, market = made_returns()
    numbers = tuple(range(TRIALS))
    active = returns - market[:, None]
    best = int(np.argmax(returns.mean(axis=0) / returns.std(axis=0)))
    parts = {
        f"StepM, {RESAMPLES:,} resamples": lambda: superior_set(
            active=active, trials=numbers, seed=1, resamples=RESAMPLES
        ),
        "PBO by CSCV, 16 blocks, 12,870 partitions": lambda: cscv(returns),
        "the same and the deflated Sharpe": lambda: overfitting(
            returns=returns, candidate=best, bars_per_year=HOURLY, trials_counted=TRIALS
        ),
        f"paired Sharpe difference, {RESAMPLES:,} resamples": lambda: paired_sharpe_test(
            candidate=returns[:, best], incumbent=market, bars_per_year=HOURLY, seed=1, resamples=RESAMPLES
        ),
    }
    took = {name: seconds(work) for name, work in parts.items()}
    total = sum(took.values())
    print(f"{f'{TRIALS} trials, {BARS:,} bars':52}{'measured':>12}{'target':>12}")
    for name, value in took.items():
        print(f"{name + ', s':52}{value:>12.2f}")
    print(f"{'together, s':52}{total:>12.2f}{'<= ' + format(TARGET_SECONDS, '.0f'):>12}")
    print(json.dumps({"seconds_100x17520": round(total, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
