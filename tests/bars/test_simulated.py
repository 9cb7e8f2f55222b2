"""The simulated exchange keeps its past, looks like a market, and its planted effect has the stated size."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.bars import BarPanel, SimulatedSource, Universe, align, long_or_cash, regime_probability
from cappuccino_ml.bars.planted import volume_surprise
from cappuccino_ml.bars.simulated import DRIFT, LEAK, ORIGIN, REGIME_HOURS, _bars, _market
from cappuccino_ml.core import ConfigurationError, DataError
from cappuccino_ml.environment import Book, Costs, Guards, backtest, decide, settle

UNIVERSE = Universe()
START = datetime(2024, 1, 1, tzinfo=UTC)


def panel_of(source: SimulatedSource, universe: Universe = UNIVERSE) -> BarPanel:
    start, end = source.coverage(universe)
    frames = [
        source.fetch(symbol=symbol, universe=universe, start=start, end=end).assign(symbol=symbol)
        for symbol in universe.symbols
    ]
    return align(pd.concat(frames), universe)


def fetch(source: SimulatedSource, symbol: str = "BTC-USD") -> pd.DataFrame:
    return source.fetch(symbol=symbol, universe=UNIVERSE, start=source.start, end=source.end)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 3),
    symbol=st.sampled_from(["BTC-USD", "ANY-EUR"]),
    years=st.integers(1, 3),
    more=st.integers(1, 4),
)
def test_a_longer_history_never_changes_an_earlier_bar(seed: int, symbol: str, years: int, more: int):
    short, long = (_bars.__wrapped__(seed, "planted", symbol, count * 8760) for count in (years, years + more))
    for name in ("open", "high", "low", "close", "volume", "missing"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[: years * 8760])
    np.testing.assert_array_equal(
        _market.__wrapped__(seed, years * 8760).state,
        _market.__wrapped__(seed, (years + more) * 8760).state[: years * 8760],
    )


def test_bars_depend_on_seed_symbol_and_time_only():
    one = fetch(SimulatedSource(start=START, end=START + timedelta(days=30)))
    late = fetch(SimulatedSource(start=START + timedelta(days=10), end=START + timedelta(days=500)))
    pd.testing.assert_frame_equal(
        one[one["timestamp"] >= late["timestamp"][0]].reset_index(drop=True),
        late[late["timestamp"] <= one["timestamp"].iloc[-1]],
    )
    assert not fetch(SimulatedSource(seed=8)).equals(fetch(SimulatedSource(seed=7)))
    assert not fetch(SimulatedSource(), "ETH-USD").equals(fetch(SimulatedSource(), "BTC-USD"))


def test_faces_say_simulated():
    assert SimulatedSource().label == "simulated"
    assert SimulatedSource(variant="placebo").label == "simulated (placebo)"
    assert SimulatedSource().identity() != SimulatedSource(variant="placebo").identity()
    assert SimulatedSource(end=datetime(2025, 1, 1, tzinfo=UTC)).identity() == SimulatedSource().identity()


def test_settings_that_cannot_be_served_are_errors():
    with pytest.raises(ConfigurationError, match="hourly bars only and was asked for 5m"):
        SimulatedSource().coverage(Universe(timeframe="5m"))
    with pytest.raises(ConfigurationError, match="variant 'other' is unknown"):
        SimulatedSource(variant="other")
    with pytest.raises(ConfigurationError, match="begins before 2021-01-01"):
        SimulatedSource(start=ORIGIN - timedelta(hours=1))
    with pytest.raises(DataError, match="before the simulated exchange's first hour"):
        SimulatedSource().hidden_state(np.array(["2020-12-31T23"], dtype="datetime64[us]"))


def test_the_market_has_the_stylised_facts():
    source = SimulatedSource(variant="placebo")
    panel = panel_of(source)
    state = source.hidden_state(panel.timestamps)[1:]
    returns = panel.close[1:] / panel.close[:-1] - 1
    kurtosis = ((returns - returns.mean(0)) ** 4).mean(0) / returns.var(0) ** 2
    assert (kurtosis > 5).all(), "fat tails"
    size = np.abs(returns)
    clusters = [np.corrcoef(size[6:, k], size[:-6, k])[0, 1] for k in range(7)]
    assert min(clusters) > 0.05, "volatility clusters: hours later it is still visible"
    correlation = np.corrcoef(returns.T)[np.triu_indices(7, 1)]
    assert correlation.min() > 0.3, "one market factor"
    traded = ~panel.is_filled[1:]
    for k in range(7):
        volume = np.log(panel.volume[1:, k][traded[:, k]]) - LEAK * state[traded[:, k]]
        assert np.corrcoef(volume, size[:, k][traded[:, k]])[0, 1] > 0.05, (
            "within a regime volume moves with volatility"
        )
    assert 0 < panel.is_filled.mean() < 0.01, "occasional gaps"
    assert 0.4 < returns.std(0).mean() * np.sqrt(8760) < 0.8


def test_the_regime_lasts_72_hours_on_average():
    hours = np.arange(0, 10 * 8760) * np.timedelta64(1, "h") + np.datetime64("2021-01-01", "us")
    states = np.stack([SimulatedSource(seed=seed).hidden_state(hours) for seed in range(8)])
    assert set(np.unique(states)) == {-1, 1}
    assert (np.diff(states, axis=1) != 0).mean() == pytest.approx(1 / REGIME_HOURS, rel=0.05)
    assert abs(states.mean()) < 0.05


def test_the_next_bar_pays_what_the_state_says_and_nothing_in_the_placebo():
    planted, placebo = (_bars(7, variant, "BTC-USD", 3 * 8760) for variant in ("planted", "placebo"))
    np.testing.assert_array_equal(planted.volume, placebo.volume)
    np.testing.assert_array_equal(planted.missing, placebo.missing)
    paid = planted.close / planted.open - placebo.close / placebo.open
    state = _market(7, 3 * 8760).state
    beta = paid[1] / (DRIFT * state[0])
    assert 0.8 <= beta <= 1.25
    np.testing.assert_allclose(paid[1:], beta * DRIFT * state[:-1], atol=1e-12)


def test_the_placebo_pays_nothing_whatever_the_state_or_the_last_move_says():
    gains = []
    for seed in range(6):
        source = SimulatedSource(seed=seed, variant="placebo")
        panel = panel_of(source)
        returns = (panel.close[1:] / panel.close[:-1] - 1).mean(axis=1)
        last = np.sign(np.concatenate(([0.0], returns[:-1])))
        state = source.hidden_state(panel.timestamps)[:-1]
        surprise = np.sign(np.nan_to_num(volume_surprise(panel)[:-1]))
        gains.append([returns, returns * state, returns * last, returns * surprise])
    paid = np.concatenate(gains, axis=1)
    t = paid.mean(axis=1) / (paid.std(axis=1) / np.sqrt(paid.shape[1]))
    assert (np.abs(t) < 3).all(), t


def test_the_volume_of_every_ticker_shows_the_state():
    source = SimulatedSource()
    panel = panel_of(source)
    state = source.hidden_state(panel.timestamps)
    for k in range(7):
        logs = np.log(np.where(panel.is_filled[:, k], np.nan, panel.volume[:, k]))
        shift = np.nanmean(logs[state == 1]) - np.nanmean(logs[state == -1])
        assert shift == pytest.approx(2 * LEAK, abs=0.15)


def test_deleting_the_future_leaves_the_filter_bit_identical():
    panel = panel_of(SimulatedSource(end=START + timedelta(days=40)))
    np.testing.assert_array_equal(regime_probability(panel)[:500], regime_probability(panel.slice(0, 500)))


def net_sharpes(panels: list[BarPanel], signals: list[np.ndarray]) -> np.ndarray:
    """`backtest` of `long_or_cash` for many markets at once: same accounting, one book per market."""
    guards, costs, tickers = Guards(), Costs(), len(panels[0].universe.tickers)
    opens, closes = (torch.from_numpy(np.stack([getattr(p, name) for p in panels], 1)) for name in ("open", "close"))
    tradable = torch.from_numpy(np.stack([~p.is_filled for p in panels], 1))
    is_long = torch.from_numpy(np.stack(signals, 1))
    book = Book.fresh(capital=100_000.0, books=len(panels), tickers=tickers)
    equity = [book.cash.numpy().copy()]
    for t in range(len(opens) - 1):
        weights = book.entries(closes[t])[:, 1:].double()
        wish = ((1 / tickers - weights) / guards.max_step).clamp(-1, 1)
        orders = decide(book, torch.where(is_long[t, :, None], wish, -1.0), closes[t], guards=guards, costs=costs)
        settle(book, orders, opens[t + 1], tradable[t + 1], costs=costs)
        equity.append(book.mark(closes[t + 1], guards).numpy().copy())
    returns = np.diff(equity, axis=0) / np.asarray(equity)[:-1]
    return returns.mean(axis=0) / returns.std(axis=0, ddof=1) * np.sqrt(8760)


def test_the_planted_effect_has_the_stated_size_net_of_costs():
    seeds, rows = 8, 8760 // 2
    panels: list[BarPanel] = []
    signals: list[np.ndarray] = []
    for variant in ("planted", "placebo"):
        for seed in range(seeds):
            source = SimulatedSource(seed=seed, variant=variant, end=START + timedelta(hours=rows))
            panel = panel_of(source)
            oracle = source.hidden_state(panel.timestamps) == 1
            panels += [panel, panel]
            signals += [oracle, regime_probability(panel) > 0.5]
    oracle, bars_only, placebo, _ = net_sharpes(panels, signals).reshape(2, seeds, 2).mean(axis=1).ravel()
    assert 4.6 < oracle < 7.6
    assert 3.2 < bars_only < oracle - 0.3
    assert placebo < 0.5

    one = panels[0].slice(0, 400)
    result = backtest(
        act=long_or_cash(signals[0]),
        open_=one.open,
        close=one.close,
        tradable=~one.is_filled,
        first=0,
        last=399,
        guards=Guards(),
        costs=Costs(),
    )
    again = result.returns.mean() / result.returns.std(ddof=1) * np.sqrt(8760)
    assert net_sharpes([one], [signals[0][:400]])[0] == pytest.approx(again, rel=1e-6)
