"""The accounting once more, for one book in plain decimals, ticker by ticker: the oracle of the batched one."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal, localcontext

from cappuccino_ml.environment import Costs, Guards, per_ticker

ZERO, ONE = Decimal(0), Decimal(1)


@dataclass
class Position:
    """One ticker of the book."""

    least: Decimal
    lot: Decimal
    units: Decimal = ZERO
    entry: Decimal = ZERO
    high: Decimal = ZERO
    bars: int = 0
    cooldown: int = 0
    stopped: bool = False

    def lots(self, units: Decimal) -> Decimal:
        return (units / self.lot + Decimal("1e-9")).to_integral_value(ROUND_FLOOR) * self.lot


@dataclass
class Twin:
    """A book with its guards and costs."""

    guards: Guards
    costs: Costs
    cash: Decimal
    positions: list[Position] = field(default_factory=list)
    peak: Decimal = ZERO
    halted: bool = False

    @classmethod
    def fresh(cls, *, capital: int, tickers: int, guards: Guards, costs: Costs) -> "Twin":
        rules = zip(
            per_ticker(costs.min_notional, tickers=tickers), per_ticker(costs.increment, tickers=tickers), strict=True
        )
        positions = [Position(Decimal(least), Decimal(lot)) for least, lot in rules]
        return cls(guards, costs, Decimal(capital), positions, peak=Decimal(capital))

    @property
    def units(self) -> list[float]:
        return [float(one.units) for one in self.positions]

    def step(self, action: Iterable[float], market: Iterable[Iterable[float]]) -> Decimal:
        """One bar; `market` is close(t), open(t + 1), whether t + 1 trades, close(t + 1) -> equity at close(t + 1)."""
        with localcontext(prec=50):
            close, opening, tradable, after = ([Decimal(float(x)) for x in row] for row in market)
            sells, buys = self._decide([Decimal(float(a)) for a in action], close)
            self._settle(sells, buys, opening, tradable)
            return self._mark(after)

    def _decide(self, action: list[Decimal], close: list[Decimal]) -> tuple[list[Decimal], list[Decimal]]:
        guards = self.guards
        equity = self.cash + sum(one.units * price for one, price in zip(self.positions, close, strict=True))
        sells, wishes = [], []
        for one, wished, price in zip(self.positions, action, close, strict=True):
            change = min(max(wished, -ONE), ONE) * Decimal(guards.max_step)
            weight = one.units * price / equity
            if abs(change) < Decimal(guards.dead_band):
                change = ZERO
            if change > 0 and one.cooldown > 0:
                change = ZERO
            if change < 0 and one.bars < guards.min_holding_bars:
                change = ZERO
            if self.halted or one.stopped:
                change = -10 * ONE
            if change < 0 and weight + change <= 0:
                sells.append(one.units)
            else:
                sold = one.lots(max(-change, ZERO) * equity / price)
                sells.append(sold if sold * price >= one.least else ZERO)
            wishes.append(min(max(change, ZERO), max(Decimal(guards.max_weight) - weight, ZERO)) * equity)
        proceeds = self._sell_factor * sum(sold * price for sold, price in zip(sells, close, strict=True))
        budget = max(self.cash + proceeds - Decimal(guards.min_cash) * equity, ZERO)
        needed = self._buy_factor * sum(wishes)
        share = min(budget / needed, ONE) if needed else ONE
        buys = []
        for one, wish, price in zip(self.positions, wishes, close, strict=True):
            bought = one.lots(wish * share / price)
            buys.append(bought if bought * price >= one.least else ZERO)
        return sells, buys

    def _settle(
        self, sells: list[Decimal], buys: list[Decimal], opening: list[Decimal], tradable: list[Decimal]
    ) -> None:
        sells = [min(sold, one.units) * ok for sold, one, ok in zip(sells, self.positions, tradable, strict=True)]
        buys = [bought * ok for bought, ok in zip(buys, tradable, strict=True)]
        cash = self.cash + self._sell_factor * sum(s * p for s, p in zip(sells, opening, strict=True))
        needed = self._buy_factor * sum(b * p for b, p in zip(buys, opening, strict=True))
        if needed > cash:
            buys = [one.lots(b * cash / needed) for one, b in zip(self.positions, buys, strict=True)]
        self.cash = cash - self._buy_factor * sum(b * p for b, p in zip(buys, opening, strict=True))
        for one, sold, bought, price in zip(self.positions, sells, buys, opening, strict=True):
            kept, coins = one.units - sold, bought * (ONE - self._fee if self.costs.fee_in_coin else ONE)
            one.units = kept + coins
            if coins:
                one.entry = (kept * one.entry + coins * price * (ONE + self._slippage)) / one.units

    def _mark(self, close: list[Decimal]) -> Decimal:
        equity = self.cash
        for one, price in zip(self.positions, close, strict=True):
            equity += one.units * price
            one.cooldown = max(one.cooldown - 1, 0)
            if one.units == 0:
                if one.bars > 0:
                    one.cooldown = max(one.cooldown, self.guards.cooldown_bars)
                one.entry, one.high, one.bars, one.stopped = ZERO, ZERO, 0, False
                continue
            one.bars += 1
            one.high = max(one.high, one.entry, price)
            if self.guards.stop_loss and price <= one.entry * (ONE - Decimal(self.guards.stop_loss)):
                one.stopped = True
            if self.guards.trailing_stop and price <= one.high * (ONE - Decimal(self.guards.trailing_stop)):
                one.stopped = True
        self.peak = max(self.peak, equity)
        self.halted = self.halted or equity <= self.peak * (ONE - Decimal(self.guards.max_drawdown))
        return equity

    @property
    def _fee(self) -> Decimal:
        return Decimal(self.costs.fee_bps) / 10_000

    @property
    def _slippage(self) -> Decimal:
        return Decimal(self.costs.slippage_bps) / 10_000

    @property
    def _buy_factor(self) -> Decimal:
        return (ONE + self._slippage) * (ONE if self.costs.fee_in_coin else ONE + self._fee)

    @property
    def _sell_factor(self) -> Decimal:
        return (ONE - self._slippage) * (ONE - self._fee)
