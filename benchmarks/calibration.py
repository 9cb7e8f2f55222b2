"""Size and power of the whole gate on synthetic return matrices: how often it says `win` without skill and with it.

20 trials, 17,520 development bars and 8,760 holdout bars, 999 resamples, straight into the gate. The candidate is the
trial with the best Sharpe on the development bars, as in a study. Every policy has a correlation of 0.9 with equal
weight and the same volatility, 20% a year; t(5) shocks share a volatility that wanders. Equal weight's true Sharpe is
0, so neither incumbent, cash or equal weight, is easier to beat. Costs are in the returns; at doubled fees they are
paid once more. `python -m benchmarks.calibration [replications]`, default 500 of each kind.
"""

import json
import math
import sys
import time

import numpy as np
from scipy.signal import lfilter
from scipy.stats import beta

from cappuccino_ml.metrics import annual_sharpe, max_drawdown
from cappuccino_ml.verdict import GateSettings, Verdict, choose_incumbent, judge, superior_set

HOURLY = 8760.0
TRIALS, DEVELOPMENT, HOLDOUT = 20, 17_520, 8_760
GATE = GateSettings(resamples=999)
CORRELATION, VOLATILITY = 0.9, 0.20 / math.sqrt(HOURLY)
TURNOVER_PER_DAY = {"trial": 0.3, "equal_weight": 0.01}
COST_PER_TURNOVER = 0.001  # fee and slippage, 10 bps a side
SKILL = 4.0  # true annual Sharpe difference
LARGEST_SIZE, SMALLEST_POWER = 0.05, 0.80


def made_returns(rng: np.random.Generator, *, skilled: int) -> tuple[np.ndarray, np.ndarray]:
    """Net returns of the trials [T, K], the first `skilled` of them with skill, and of equal weight [T]."""
    bars = DEVELOPMENT + HOLDOUT
    # Log volatility is an AR(1) with a half-life of three days and a standard deviation of a third.
    stay = 0.5 ** (1 / 72)
    wander = lfilter([math.sqrt(1 - stay**2) / 3], [1, -stay], rng.standard_normal(bars))
    scale = np.exp(wander - 1 / 9) * VOLATILITY / math.sqrt(5 / 3)  # E[exp(2 wander)] = exp(2 / 9)
    market = scale * rng.standard_t(5, bars)
    own = scale[:, None] * rng.standard_t(5, (bars, TRIALS))
    returns = CORRELATION * market[:, None] + math.sqrt(1 - CORRELATION**2) * own
    returns[:, :skilled] += SKILL * VOLATILITY / math.sqrt(HOURLY)
    return returns, market


def one_verdict(seed: int, *, skilled: int) -> Verdict:
    returns, market = made_returns(np.random.default_rng(seed), skilled=skilled)
    tuned, judged = returns[:DEVELOPMENT], returns[DEVELOPMENT:]
    numbers = tuple(range(TRIALS))
    candidate = int(np.argmax([annual_sharpe(column, HOURLY) for column in tuned.T]))
    superior = superior_set(
        active=tuned - market[:DEVELOPMENT, None], trials=numbers, seed=seed, resamples=GATE.resamples
    )
    holdout = {"cash": np.zeros(HOLDOUT), "equal_weight": market[DEVELOPMENT:]}
    incumbent = choose_incumbent(
        development={"cash": np.zeros(DEVELOPMENT), "equal_weight": market[:DEVELOPMENT]}, bars_per_year=HOURLY
    )
    again = {name: turnover / 24 * COST_PER_TURNOVER for name, turnover in TURNOVER_PER_DAY.items()}
    return judge(
        superior=superior,
        candidate_trial=candidate,
        candidate=judged[:, candidate],
        incumbent=holdout[incumbent],
        incumbent_name=incumbent,
        candidate_dearer=judged[:, candidate] - again["trial"],
        equal_weight_dearer=holdout["equal_weight"] - again["equal_weight"],
        drawdown=max_drawdown(judged[:, candidate]),
        turnover_per_day=TURNOVER_PER_DAY["trial"],
        bars_per_year=HOURLY,
        seed=seed,
        settings=GATE,
    )


def limits(count: int, of: int) -> tuple[float, float]:
    """One-sided 95% limits of a share (Clopper and Pearson), lower and upper."""
    lower = float(beta.ppf(0.05, count, of - count + 1)) if count else 0.0
    return lower, float(beta.ppf(0.95, count + 1, of - count)) if count < of else 1.0


def main() -> int:
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    kinds = {"no skill": 0, "10% of trials skilled": TRIALS // 10, "100% of trials skilled": TRIALS}
    head = f"{'share of':26}{'win':>8}{'lower':>8}{'upper':>8}{'target':>15}{'inconcl.':>10}{'reject':>8}"
    print(head + "".join(f"{f'clause {name}':>10}" for name in "abcd"))
    figures: dict[str, float] = {"replications": replications}
    began, met = time.monotonic(), True
    for kind, (name, skilled) in enumerate(kinds.items()):
        verdicts = [one_verdict(1_000_000 * kind + seed, skilled=skilled) for seed in range(replications)]
        wins = sum(verdict.outcome == "win" for verdict in verdicts)
        share, (lower, upper) = wins / replications, limits(wins, replications)
        met &= share >= SMALLEST_POWER if skilled else upper <= LARGEST_SIZE
        goal = f"win >= {SMALLEST_POWER:.0%}" if skilled else f"upper <= {LARGEST_SIZE:.0%}"
        outcomes = [sum(v.outcome == word for v in verdicts) / replications for word in ("inconclusive", "reject")]
        failing = [{clause.name for clause in verdict.failing} for verdict in verdicts]
        passed = [sum(clause not in names for names in failing) / replications for clause in "abcd"]
        print(
            f"{name:26}{share:>8.1%}{lower:>8.1%}{upper:>8.1%}{goal:>15}{outcomes[0]:>10.1%}{outcomes[1]:>8.1%}"
            + "".join(f"{value:>10.1%}" for value in passed),
            flush=True,
        )
        figures |= {f"{name}: win": share, f"{name}: upper": round(upper, 4)}
    figures["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(figures))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
