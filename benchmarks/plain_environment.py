"""The peer of `benchmarks.environment`: one environment, one step at a time, NumPy over tickers; same accounting."""

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.environment import Costs, Guards, Reward, per_ticker

Floats = NDArray[np.float64]


class PlainEnvironment:
    """Cash, coins, stops and holding times of one book, as one writes them by hand."""

    def __init__(
        self,
        *,
        open_: Floats,
        close: Floats,
        tradable: NDArray[np.bool_],
        guards: Guards,
        costs: Costs,
        reward: Reward,
        capital: float = 100_000.0,
    ) -> None:
        self.open, self.close, self.tradable = open_, close, tradable
        self.guards, self.costs, self.reward, self.capital = guards, costs, reward, capital
        tickers = close.shape[1]
        self.least = np.array(per_ticker(costs.min_notional, tickers=tickers))
        self.increment = np.array(per_ticker(costs.increment, tickers=tickers))
        self.buy_factor, self.sell_factor, self.coin_factor = costs.buy_factor, costs.sell_factor, costs.coin_factor
        self.index = np.log((close[1:] / close[:-1]).mean(axis=1))
        self.reset(0)

    def reset(self, row: int) -> Floats:
        tickers = self.close.shape[1]
        self.t, self.cash, self.peak, self.worst, self.halted = row, self.capital, self.capital, 1.0, False
        self.units, self.entry, self.high, self.bars, self.cooldown = (np.zeros(tickers) for _ in range(5))
        self.stopped = np.zeros(tickers, dtype=bool)
        return self.entries()

    def entries(self) -> Floats:
        value = self.units * self.close[self.t]
        equity = self.cash + value.sum()
        return np.concatenate([[self.cash], value]) / equity

    def lots(self, units: Floats) -> Floats:
        return np.floor(units / self.increment + 1e-9) * self.increment

    def step(self, action: Floats) -> tuple[Floats, float, bool]:  # noqa: PLR0915 - as one writes it by hand
        if not np.isfinite(action).all():
            raise ValueError("an action is NaN or infinite")
        guards, terms = self.guards, self.reward
        close, opening, tradable = self.close[self.t], self.open[self.t + 1], self.tradable[self.t + 1]
        value = self.units * close
        before = self.cash + value.sum()
        weight = value / before

        change = np.clip(action, -1, 1) * guards.max_step
        change[np.abs(change) < guards.dead_band] = 0.0
        change[(change > 0) & (self.cooldown > 0)] = 0.0
        change[(change < 0) & (self.bars < guards.min_holding_bars)] = 0.0
        change[self.stopped] = -10.0
        if self.halted:
            change[:] = -10.0
        sell = self.lots(np.maximum(-change, 0) * before / close)
        sell[sell * close < self.least] = 0.0
        leaves = (change < 0) & (weight + change <= 0)
        sell[leaves] = self.units[leaves]
        wish = np.minimum(np.maximum(change, 0), np.maximum(guards.max_weight - weight, 0)) * before
        budget = max(self.cash + (sell * close).sum() * self.sell_factor - guards.min_cash * before, 0.0)
        needed = wish.sum() * self.buy_factor
        if needed > budget:
            wish = wish * (budget / needed)
        buy = self.lots(wish / close)
        buy[buy * close < self.least] = 0.0

        sell, buy = np.minimum(sell * tradable, self.units), buy * tradable
        cash = self.cash + (sell * opening).sum() * self.sell_factor
        needed = (buy * opening).sum() * self.buy_factor
        if needed > cash:
            buy = self.lots(buy * (cash / needed))
        paid_out = buy * opening * self.buy_factor - sell * opening * self.sell_factor
        self.cash = max(cash - (buy * opening).sum() * self.buy_factor, 0.0)
        coins = buy * self.coin_factor
        self.units = self.units - sell + coins
        bought = coins > 0
        price = opening * self.costs.slipped_buy
        self.entry[bought] += ((price - self.entry) * coins)[bought] / self.units[bought]

        self.t += 1
        close = self.close[self.t]
        held = self.units > 0
        sold_out = (self.bars > 0) & ~held
        self.cooldown = np.maximum(self.cooldown - 1, 0)
        self.cooldown[sold_out] = guards.cooldown_bars
        self.bars = np.where(held, self.bars + 1, 0)
        self.entry[~held] = 0.0
        self.high = np.where(held, np.maximum(np.maximum(self.high, close), self.entry), 0.0)
        if guards.stop_loss:
            self.stopped |= close <= self.entry * (1 - guards.stop_loss)
        if guards.trailing_stop:
            self.stopped |= close <= self.high * (1 - guards.trailing_stop)
        self.stopped &= held
        after_value = self.units * close
        after = self.cash + after_value.sum()
        self.peak = max(self.peak, after)
        deepened, self.worst = self.worst, min(self.worst, after / self.peak)
        self.halted = self.halted or after <= self.peak * (1 - guards.max_drawdown)

        paid = np.log1p((after_value - value - paid_out).sum() / before)
        paid -= terms.drawdown_penalty * np.log(deepened / self.worst)
        if terms.benchmark == "equal_weight":
            paid -= self.index[self.t - 1]
        paid -= terms.turnover_penalty * ((buy + sell) * opening).sum() / before
        paid -= terms.concentration_penalty * ((after_value / after) ** 2).sum()
        return self.entries(), float(paid), self.halted or after < 0.05 * self.capital
