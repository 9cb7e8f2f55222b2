"""Baselines every candidate is shown beside. Each is an `Act` and is sized, limited and charged by the same backtest.

A baseline names target weights; the action is the way there in units of `guards.max_step`. Targets respect the guards
and gaps below the dead band are left alone, so no baseline churns against a limit it can never reach.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import derive_seed
from cappuccino_ml.environment import Act, Backtest, Costs, Guards, backtests

Floats = NDArray[np.float64]
Entries = NDArray[np.float32]

_BAND = 0.02  # smallest gap to a target worth a trade, where the guards' own dead band is smaller
_REVIEW_BARS = 24  # slow signals change their mind once in so many bars


def feasible(target: Floats, guards: Guards) -> Floats:
    """`target` weights [N] cut at `max_weight`, then shrunk pro rata so that `min_cash` stays."""
    capped = np.minimum(target, guards.max_weight)
    return capped * min(1.0, (1.0 - guards.min_cash) / max(float(capped.sum()), 1e-12))


def _towards(target: Floats, entries: Entries, guards: Guards) -> Floats:
    gap = target - entries[1:].astype(np.float64)
    gap[np.abs(gap) < max(guards.dead_band, _BAND)] = 0.0
    return np.clip(gap / guards.max_step, -1.0, 1.0)


def _follow(target: Callable[[int, Floats], Floats], guards: Guards) -> Act:
    """Go to `target(t, weights)` [N], made feasible."""

    def act(t: int, entries: Entries) -> Floats:
        return _towards(feasible(target(t, entries[1:].astype(np.float64)), guards), entries, guards)

    return act


def cash(*, tickers: int) -> Act:
    """Never trades."""
    return lambda t, entries: np.zeros(tickers)


def equal_weight(*, tickers: int, guards: Guards) -> Act:
    """1 / N each, rebalanced when a weight leaves the dead band."""
    return _follow(lambda t, weights: np.full(tickers, 1.0 / tickers), guards)


def bitcoin(*, tickers: int, guards: Guards) -> Act:
    """Everything the guards allow in the first ticker."""
    return _follow(lambda t, weights: np.eye(tickers)[0], guards)


def buy_and_hold(*, tickers: int, guards: Guards) -> Act:
    """Buys 1 / N of each once and then never trades. It remembers what it has bought: make a new one for each run."""
    target = feasible(np.full(tickers, 1.0 / tickers), guards)
    bought = np.zeros(tickers, dtype=bool)

    def act(t: int, entries: Entries) -> Floats:
        nonlocal bought
        action = _towards(target, entries, guards).clip(min=0.0)
        bought = bought | (action == 0.0)
        return np.where(bought, 0.0, action)

    return act


def inverse_volatility(*, close: Floats, guards: Guards, lookback_bars: int = 720) -> Act:
    """Weights in proportion to 1 / volatility of the log returns of the last `lookback_bars`, reviewed daily.

    Until two returns exist, equal weight. A ticker that has not moved at all counts with the others' median volatility.
    """
    tickers = close.shape[1]

    def target(t: int, weights: Floats) -> Floats:
        review = t - t % _REVIEW_BARS
        past = close[max(0, review - lookback_bars) : review + 1]
        if len(past) < 3:
            return np.full(tickers, 1.0 / tickers)
        spread = np.diff(np.log(past), axis=0).std(axis=0)
        if not (spread > 0).any():
            return np.full(tickers, 1.0 / tickers)
        inverse = 1.0 / np.where(spread > 0, spread, np.median(spread[spread > 0]))
        return np.asarray(inverse / inverse.sum())

    return _follow(target, guards)


def momentum(*, close: Floats, guards: Guards, lookback_bars: int = 672) -> Act:
    """1 / N of each ticker whose last `lookback_bars` went up, reviewed daily (Moskowitz, Ooi and Pedersen 2012).

    Cash until a full lookback exists.
    """
    tickers = close.shape[1]

    def target(t: int, weights: Floats) -> Floats:
        review = t - t % _REVIEW_BARS
        if review < lookback_bars:
            return np.zeros(tickers)
        return np.where(close[review] > close[review - lookback_bars], 1.0 / tickers, 0.0)

    return _follow(target, guards)


def ridge(
    *,
    features: NDArray[np.floating],
    open_: Floats,
    train_rows: tuple[int, int],
    guards: Guards,
    costs: Costs,
    horizon_bars: int = 24,
    penalty: float = 1.0,
) -> Act:
    """A ridge forecast of the next `horizon_bars`: 1 / N where it exceeds a round trip's cost, out where negative.

    One model for all tickers. Features are standardised on the training rows; `penalty` is per training sample.

    Args:
        features: [T, N, F], known at the close of each row.
        open_: [T, N]; a forecast made at t is of log(open[t + 1 + horizon] / open[t + 1]).
        train_rows: (low, high); neither features nor prices of row `high` or later are used to fit.

    Raises:
        ValueError: too few training rows, or features that are not finite.
    """
    low, high = train_rows
    last = high - 1 - horizon_bars
    tickers, width = features.shape[1:]
    if not 0 <= low < high <= len(features) or (last - low) * tickers <= width:
        raise ValueError(
            f"train_rows {train_rows} leave too few rows for a {horizon_bars}-bar ridge forecast of {width} features"
        )
    inputs = features[low:last].reshape(-1, width).astype(np.float64)  # (rows * tickers, features)
    if not np.isfinite(inputs).all():
        raise ValueError(f"features of training rows {low}..{last} are not all finite; start after the warm-up")
    outcome = np.log(open_[low + 1 + horizon_bars : high] / open_[low + 1 : last + 1]).reshape(-1)
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = (inputs - centre) / spread
    mean = float(outcome.mean())
    gram = scaled.T @ scaled / len(scaled) + penalty * np.eye(width)
    slope = np.linalg.solve(gram, scaled.T @ (outcome - mean) / len(scaled))
    round_trip = costs.round_trip

    def target(t: int, weights: Floats) -> Floats:
        forecast = mean + (features[t].astype(np.float64) - centre) / spread @ slope
        if not np.isfinite(forecast).all():
            raise ValueError(f"features of row {t} are not all finite; start after the warm-up")
        keep = np.where(forecast < 0, 0.0, weights)
        return np.where(forecast > round_trip, 1.0 / tickers, keep)

    return _follow(target, guards)


def random(*, tickers: int, guards: Guards, turnover_per_bar: float, seed: int) -> Act:
    """Buys and sells at random, as much as `turnover_per_bar` (share of equity) allows. Make a new one for each run."""
    if not turnover_per_bar >= 0.0:
        raise ValueError(f"turnover_per_bar is {turnover_per_bar}; it must be a number of at least 0")
    generator = np.random.default_rng(derive_seed(seed, "random baseline"))
    smallest = max(guards.dead_band, 1e-3)
    allowed = 0.0

    def act(t: int, entries: Entries) -> Floats:
        nonlocal allowed
        allowed += turnover_per_bar
        weights = entries[1:].astype(np.float64)
        spare = max(float(entries[0]) - guards.min_cash, 0.0)
        room = np.minimum(guards.max_weight - weights, spare)
        sizes = np.minimum(np.concatenate([room, weights]), guards.max_step)  # [2N]: buys, then sells
        possible = np.flatnonzero(sizes >= smallest)
        action = np.zeros(tickers)
        if possible.size and allowed >= guards.max_step:
            choice = int(generator.choice(possible))
            action[choice % tickers] = (1.0 if choice < tickers else -1.0) * sizes[choice] / guards.max_step
            allowed -= sizes[choice]
        return action

    return act


def run_baselines(
    *,
    open_: Floats,
    close: Floats,
    tradable: NDArray[np.bool_],
    first: int,
    last: int,
    guards: Guards,
    costs: Costs,
    train_rows: tuple[int, int],
    turnover_per_bar: float,
    seed: int,
    features: NDArray[np.floating] | None = None,
) -> dict[str, Backtest]:
    """Every baseline over decisions at close(first) .. close(last - 1), on the candidate's own terms.

    Args:
        open_: [T, N]; `close` and `tradable` have the same shape.
        train_rows: (low, high) that the ridge may learn from; they end at or before `first`.
        turnover_per_bar: the candidate's, for the random policy.
        features: [T, N, F] known at each close; without them there is no "ridge".

    Returns:
        "cash", "buy_and_hold", "equal_weight", "bitcoin", "inverse_volatility", "momentum", "random" and "ridge".

    Raises:
        ValueError: the training rows reach into the judged ones, or the span leaves the data.
    """
    if train_rows[1] > first:
        raise ValueError(
            f"training rows end at {train_rows[1]}, after the first judged row {first}; end them at or before it"
        )
    tickers = close.shape[1]
    acts: dict[str, Act] = {
        "cash": cash(tickers=tickers),
        "buy_and_hold": buy_and_hold(tickers=tickers, guards=guards),
        "equal_weight": equal_weight(tickers=tickers, guards=guards),
        "bitcoin": bitcoin(tickers=tickers, guards=guards),
        "inverse_volatility": inverse_volatility(close=close, guards=guards),
        "momentum": momentum(close=close, guards=guards),
        "random": random(tickers=tickers, guards=guards, turnover_per_bar=turnover_per_bar, seed=seed),
    }
    if features is not None:
        acts["ridge"] = ridge(features=features, open_=open_, train_rows=train_rows, guards=guards, costs=costs)
    runs = backtests(
        acts=list(acts.values()),
        open_=open_,
        close=close,
        tradable=tradable,
        first=first,
        last=last,
        guards=guards,
        costs=costs,
    )
    return dict(zip(acts, runs, strict=True))
