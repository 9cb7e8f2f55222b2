"""Baselines see no future, do not churn, respect the guards and pay the same costs as a candidate."""

import numpy as np
import pytest

from cappuccino_ml.environment import Act, Backtest, Costs, Guards, backtest
from cappuccino_ml.verdict import baselines, run_baselines

T, N, F = 900, 4, 3
FIRST, LAST = 700, 820
GUARDS, COSTS = Guards(), Costs()


def market(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prices with a planted effect: the first feature is the next bar's drift."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(T, N, F)).astype(np.float32)
    drift = np.repeat(rng.normal(size=(T // 30 + 1, N)), 30, axis=0)[:T]
    features[:, :, 0] = drift
    close = 100 * np.exp(
        np.cumsum(rng.normal(0, 0.004, (T, N)) + 0.002 * np.vstack([np.zeros((1, N)), drift[:-1]]), axis=0)
    )
    open_ = np.vstack([close[:1], close[:-1]])
    return open_, close, features


def run(
    open_: np.ndarray, close: np.ndarray, features: np.ndarray | None, guards: Guards = GUARDS
) -> dict[str, Backtest]:
    return run_baselines(
        open_=open_,
        close=close,
        tradable=np.ones_like(close, dtype=bool),
        first=FIRST,
        last=LAST,
        guards=guards,
        costs=COSTS,
        train_rows=(0, 690),
        turnover_per_bar=0.02,
        seed=3,
        features=features,
    )


def run_one(act: Act, open_: np.ndarray, close: np.ndarray, guards: Guards) -> Backtest:
    return backtest(
        act=act,
        open_=open_,
        close=close,
        tradable=np.ones_like(close, dtype=bool),
        first=620,
        last=T - 1,
        guards=guards,
        costs=COSTS,
    )


@pytest.fixture(scope="module")
def results() -> dict[str, Backtest]:
    return run(*market())


def test_every_baseline_is_there_and_the_ridge_only_with_features(results: dict[str, Backtest]) -> None:
    names = {"cash", "buy_and_hold", "equal_weight", "bitcoin", "inverse_volatility", "momentum", "random", "ridge"}
    assert set(results) == names
    open_, close, _ = market()
    assert set(run(open_, close, None)) == names - {"ridge"}


def test_cash_earns_exactly_nothing(results: dict[str, Backtest]) -> None:
    assert not results["cash"].returns.any()


def test_changing_the_future_leaves_every_past_action_bit_identical(results: dict[str, Backtest]) -> None:
    open_, close, features = market()
    cut = 760
    for array in (open_, close, features):
        array[cut + 1 :] *= 1.5
    changed = run(open_, close, features)
    for name, result in results.items():
        seen = cut - FIRST
        assert np.array_equal(result.actions[:seen], changed[name].actions[:seen]), name


def test_the_ridge_learns_nothing_after_its_training_rows() -> None:
    open_, close, features = market()
    act = baselines.ridge(features=features, open_=open_, train_rows=(0, 690), guards=GUARDS, costs=COSTS)
    later_open, later_features = open_.copy(), features.copy()
    later_open[690:] *= 3.0
    later_features[690:850] = 0.0
    other = baselines.ridge(features=later_features, open_=later_open, train_rows=(0, 690), guards=GUARDS, costs=COSTS)
    entries = np.array([1, 0, 0, 0, 0], dtype=np.float32)
    assert np.array_equal(act(860, entries), other(860, entries))
    with pytest.raises(ValueError, match="after the first judged row"):
        run_baselines(
            open_=open_,
            close=close,
            tradable=np.ones_like(close, dtype=bool),
            first=FIRST,
            last=LAST,
            guards=GUARDS,
            costs=COSTS,
            train_rows=(0, FIRST + 1),
            turnover_per_bar=0.02,
            seed=0,
        )


def test_the_ridge_finds_a_planted_effect_that_equal_weight_cannot() -> None:
    gains = []
    for seed in range(3):
        open_, close, features = market(seed)
        ridge = baselines.ridge(features=features, open_=open_, train_rows=(0, 600), guards=GUARDS, costs=COSTS)
        final = {}
        for name, act in (("ridge", ridge), ("equal", baselines.equal_weight(tickers=N, guards=GUARDS))):
            final[name] = run_one(act, open_, close, GUARDS).equity[-1]
        gains.append(np.log(final["ridge"] / final["equal"]))
    assert min(gains) > 0.0
    assert np.mean(gains) > 0.03


def test_buy_and_hold_buys_equal_weights_and_then_never_trades(results: dict[str, Backtest]) -> None:
    result = results["buy_and_hold"]
    assert (result.orders >= 0).all()
    assert not result.orders[10:].any()
    np.testing.assert_allclose(result.weights[3], 0.98 / N, atol=0.03)


def test_equal_weight_stays_in_its_band_and_trades_only_to_return_to_it(results: dict[str, Backtest]) -> None:
    result = results["equal_weight"]
    assert np.abs(result.weights[10:] - 0.98 / N).max() < 0.05
    assert (result.turnover[10:] > 0).mean() < 0.2


@pytest.mark.parametrize("guards", [Guards(dead_band=0.0), Guards(max_weight=0.1), Guards(min_cash=0.5)])
def test_no_baseline_churns_against_a_limit_it_cannot_reach(guards: Guards) -> None:
    open_, close, _ = market()
    for name in ("buy_and_hold", "equal_weight", "bitcoin"):
        late = run_one(getattr(baselines, name)(tickers=N, guards=guards), open_, close, guards).turnover[20:]
        assert (late > 0).mean() < 0.15, name
        assert late[late > 0].min(initial=1.0) > 0.01, name


def test_baselines_respect_the_guards() -> None:
    open_, close, features = market()
    guards = Guards(max_weight=0.2, min_cash=0.3)
    for name, result in run(open_, close, features, guards).items():
        assert result.weights.max() < 0.25, name
        assert result.weights.sum(axis=1).max() < 0.75, name


def test_bitcoin_holds_the_first_ticker_alone(results: dict[str, Backtest]) -> None:
    weights = results["bitcoin"].weights
    assert not weights[:, 1:].any()
    assert weights[20:, 0].min() > GUARDS.max_weight - 0.1


def test_inverse_volatility_holds_less_of_what_moves_more() -> None:
    open_, close, _ = market()
    close[:, 0] = 100 * (close[:, 0] / 100) ** 4
    open_[1:, 0] = close[:-1, 0]
    weights = run(open_, close, None)["inverse_volatility"].weights
    assert (weights[20:, 0] < weights[20:, 1:].min(axis=1)).all()


def test_momentum_holds_what_rose_and_leaves_what_fell() -> None:
    close = 100 * np.exp(np.outer(np.arange(T), [0.001, -0.001, 0.0005, -0.0005]))
    weights = run(np.vstack([close[:1], close[:-1]]), close, None)["momentum"].weights[10:]
    assert (weights[:, [0, 2]] > 0.2).all()
    assert not weights[:, [1, 3]].any()


def test_the_random_policy_trades_as_much_as_asked_and_the_same_for_the_same_seed(results: dict[str, Backtest]) -> None:
    assert results["random"].turnover.mean() == pytest.approx(0.02, abs=0.003)
    again = run(*market())["random"]
    assert np.array_equal(again.actions, results["random"].actions)


def test_features_that_are_not_finite_are_refused() -> None:
    open_, close, features = market()
    features[:10] = np.nan
    with pytest.raises(ValueError, match="start after the warm-up"):
        run(open_, close, features)
