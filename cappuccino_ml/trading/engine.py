"""The trader: one closed bar in, orders out, every step in the ledger before it happens."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import Clock, SchemaMismatch, TradingError
from cappuccino_ml.environment import Book, Positions, decide, per_ticker, shrink_buys
from cappuccino_ml.features import CONTEXT_BARS, WARM_UP_BARS, FeatureSchema, latest_features
from cappuccino_ml.trading.broker import Broker, BrokerSilentError, DuplicateOrderError
from cappuccino_ml.trading.feed import BarFeed, close_time, closed_rows
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.model import TradingModel
from cappuccino_ml.trading.orders import Order, OrderState, Side, Status, TrackedOrder, client_order_id, steps_to
from cappuccino_ml.trading.state import TradingState

Floats = NDArray[np.float64]


class Mode(StrEnum):
    """ACTIVE follows the model; HALTED sells everything and stays so until a person releases it."""

    ACTIVE = "ACTIVE"
    HALTED = "HALTED"


@dataclass(frozen=True)
class Tick:
    """What one tick did: traded, repeated (bar decided before) or stale (no fresh bar). N tickers, base units."""

    status: Literal["traded", "repeated", "stale"]
    bar_close: datetime
    equity: float | None = None  # at the close, before trading
    action: Floats | None = None  # [N]
    decided: Floats | None = None  # [N], signed, before the quote was known
    filled: Floats | None = None  # [N], signed, as known when the tick ended


class Trader:
    """Runs one registered model on one broker account with one ledger.

    Raises TradingError, after writing the reason down, whenever it must not trade; the next tick starts afresh.
    Costs and guards are the model's own: live and backtest cannot differ.
    """

    def __init__(
        self,
        *,
        actor: TradingModel,
        model_version: str,
        feed: BarFeed,
        broker: Broker,
        ledger: Ledger,
        clock: Clock,
        max_age_bars: float = 0.5,
        kill_file: Path | None = None,
    ) -> None:
        """Verify the ledger, bring open orders to a known end and compare our book with the broker's.

        Args:
            actor: the model.
            model_version: its version in the registry; models without one are refused.
            feed: trailing bars.
            broker: where orders go.
            ledger: this account's history; a new one takes the broker's book as it is.
            clock: the only source of time.
            max_age_bars: a bar that closed longer ago than this, in bars, is stale: the fill would be too late.
            kill_file: while this file exists nothing is sent; it is looked for before every order.
        """
        self._feed, self._broker, self._ledger, self._clock = feed, broker, ledger, clock
        self._max_age_bars, self._kill_file = max_age_bars, kill_file
        ledger.verify()
        self._state = TradingState.replay(ledger.rows())
        self._adopt(actor, model_version)
        self._recover()

    @property
    def mode(self) -> Mode:
        """ACTIVE or HALTED; the latch lives in the ledger, so a restart does not lift it."""
        return Mode.HALTED if self._state.halted else Mode.ACTIVE

    @property
    def peak(self) -> float:
        """Highest equity at a close so far, quote currency."""
        return self._state.peak

    def swap(self, *, actor: TradingModel, model_version: str) -> None:
        """Let another model decide from the next bar on; book, peak and halt stay as they are."""
        self._adopt(actor, model_version)

    def tick(self) -> Tick:
        """Decide on the newest closed bar and trade it, once.

        Raises:
            TradingError: schema mismatch, too few bars, non-finite action, book unlike the broker's, broken ledger.
        """
        now = self._clock.now()
        panel = self._feed.panel(now)
        closed = closed_rows(panel, now)
        panel = panel.slice(max(0, closed - CONTEXT_BARS), closed)
        if len(panel) == 0:
            raise self._refused(None, "the feed has no closed bar; check the bar source.")
        bar_close = close_time(panel, -1)
        if self._state.decided is not None and bar_close <= self._state.decided:
            return Tick("repeated", bar_close)
        if now - bar_close > self._max_age_bars * panel.universe.bar:
            self._record("stale", {"bar_close": bar_close.isoformat()})
            return Tick("stale", bar_close)
        self._require_no_kill(bar_close)
        self._recover()
        window = self._window(panel, bar_close)
        book, held = self._book(panel, bar_close)
        close = torch.from_numpy(panel.close[-1])
        equity = float(book.mark(close, self._actor.guards))
        if not equity > 0:
            raise self._refused(bar_close, f"equity is {equity}; there is nothing to trade with, fund the account.")
        mark = {"bar_close": bar_close.isoformat(), "equity": equity, "peak": float(book.peak)}
        self._record("mark", {**mark, "halted": bool(book.halted)})
        action = self._action(window, book.entries(close)[0].numpy(), bar_close)
        orders = decide(
            book, torch.from_numpy(action)[None], close, guards=self._actor.guards, costs=self._actor.costs
        )[0]
        # From here on the bar is spent: whatever happens, it is never decided again.
        symbols = panel.universe.symbols
        memory = dict(zip(symbols, book.positions.memory_of(0), strict=True))
        decision = {"bar_close": bar_close.isoformat(), "action": action.tolist(), "orders": orders.tolist()}
        self._record("decision", {**decision, "memory": memory})
        increments = self._increments(symbols)
        for column, symbol in enumerate(symbols):
            if orders[column] < 0:
                everything = -orders[column] >= book.units[0, column]
                quantity = held[symbol] if everything else _lots(-float(orders[column]), increments[symbol])
                if symbol in self._tradable([symbol]):
                    self._send("sell", symbol, quantity, bar_close)
        self._buy(orders.clamp(min=0), symbols, bar_close)
        self._record("done", {"bar_close": bar_close.isoformat()})
        filled = self._filled(symbols, bar_close)
        return Tick("traded", bar_close, equity=equity, action=action, decided=orders.numpy(), filled=filled)

    def _window(self, panel: BarPanel, bar_close: datetime) -> Floats:
        """Features [L, N, F] of the last L closed bars."""
        try:
            self._actor.schema.require_same(FeatureSchema.of(panel.universe), what="the bar feed")
        except SchemaMismatch as error:
            raise self._refused(bar_close, str(error)) from error
        needed = WARM_UP_BARS + self._actor.lookback
        if len(panel) < needed:
            raise self._refused(bar_close, f"{len(panel)} closed bars, {needed} are needed; wait or load more history.")
        window = latest_features(panel)[-self._actor.lookback :]
        if not np.isfinite(window).all():
            raise self._refused(bar_close, "a feature of the newest bars is not finite; audit the bars.")
        return window

    def _book(self, panel: BarPanel, bar_close: datetime) -> tuple[Book, dict[str, Decimal]]:
        """The broker's account as a book of one, not marked yet, and the units held by symbol, exactly."""
        symbols = panel.universe.symbols
        cash, positions = self._broker.account().cash, self._broker.positions()
        held = {symbol: positions.get(symbol, Decimal(0)) for symbol in symbols}
        strange = sorted(symbol for symbol, units in positions.items() if units and symbol not in held)
        if strange:
            raise self._refused(
                bar_close, f"the account holds {', '.join(strange)}, outside the universe; sell it by hand."
            )
        if not cash.is_finite() or cash < 0 or any(not units.is_finite() or units < 0 for units in held.values()):
            raise self._refused(bar_close, "the broker reports negative cash or units; look at the account.")
        book = Book.fresh(capital=float(cash), books=1, tickers=len(symbols))
        book.units[0] = torch.tensor([float(units) for units in held.values()], dtype=torch.float64)
        book.peak[0], book.halted[0] = self._state.peak, self._state.halted
        book.positions = Positions.of_one_book([self._state.memory.get(symbol, {}) for symbol in symbols])
        # Bars that closed while nobody traded count for high-water marks, stops and holding times, too.
        missed = (bar_close - self._state.decided) // panel.universe.bar - 1 if self._state.decided else 0
        for close in panel.close[max(0, len(panel) - 1 - missed) : len(panel) - 1]:
            book.positions.mark(book.units, torch.from_numpy(close), self._actor.guards)
        return book, held

    def _action(self, window: Floats, entries: NDArray[np.float32], bar_close: datetime) -> Floats:
        if self._state.halted:  # `decide` sells everything: a broken model must not stand in the way
            return np.zeros(len(entries) - 1)
        action = np.asarray(self._actor.act(window, entries), dtype=np.float64)
        if action.shape != (len(entries) - 1,) or not np.isfinite(action).all():
            raise self._refused(bar_close, f"the model's action {action.tolist()} is not finite or of the wrong shape.")
        return action

    def _buy(self, wished: torch.Tensor, symbols: tuple[str, ...], bar_close: datetime) -> None:
        """Send the buys that the cash left after the sells can pay at the quotes now, all shrunk by one share."""
        names = [symbol for column, symbol in enumerate(symbols) if wished[column] > 0]
        prices = self._tradable(names) if names else {}
        price = torch.tensor([prices.get(symbol, 1.0) for symbol in symbols], dtype=torch.float64)
        wished = torch.where(torch.tensor([symbol in prices for symbol in symbols]), wished, 0.0)
        cash = torch.tensor([float(self._broker.account().cash)], dtype=torch.float64)
        buys = shrink_buys(wished[None], price, cash, self._actor.costs)[0]
        increments = self._increments(symbols)
        for column, symbol in enumerate(symbols):
            quantity = _lots(float(buys[column]), increments[symbol])
            if quantity > 0:
                self._send("buy", symbol, quantity, bar_close)

    def _tradable(self, symbols: list[str]) -> dict[str, float]:
        """Quoted prices of the symbols that trade now; the others are written down and get no order."""
        quotes = self._broker.quotes(symbols)
        good = {
            symbol: float(quote.price)
            for symbol, quote in quotes.items()
            if quote.tradable and quote.price.is_finite() and quote.price > 0
        }
        for symbol in symbols:
            if symbol not in good:
                self._record("skipped", {"symbol": symbol, "reason": "it does not trade now"})
        return good

    def _increments(self, symbols: tuple[str, ...]) -> dict[str, float]:
        """Base units of one lot, by symbol."""
        return dict(zip(symbols, per_ticker(self._actor.costs.increment, tickers=len(symbols)), strict=True))

    def _send(self, side: Side, symbol: str, quantity: Decimal, bar_close: datetime) -> None:
        """INTENT on disk, one submit, the answer on disk. Silence is UNKNOWN, cleared up before the next decision."""
        self._require_no_kill(bar_close)
        leg = 0 if side == "sell" else 1
        key = client_order_id(model=self._actor.key, symbol=symbol, bar_close=bar_close, leg=leg)
        tracked = TrackedOrder(Order(key, symbol, side, quantity), bar_close=bar_close)
        self._record("order", tracked.row((Status.INTENT,), None))
        answer: OrderState | None
        try:
            try:
                answer = self._broker.submit(tracked.order)
            except DuplicateOrderError:
                answer = self._broker.order(key)
        except BrokerSilentError:
            answer = None
        if answer is None:
            self._record_order(tracked, (Status.SENT, Status.UNKNOWN), None)
        else:
            self._record_order(tracked, (Status.SENT, *steps_to(Status.UNKNOWN, answer.status)), answer)

    def _recover(self) -> None:
        """Bring every open order to a known end, then compare books. Runs at the start and before each decision."""
        if self._state.decided != self._state.finished and self._state.decided is not None:
            self._record("cut_short", {"bar_close": self._state.decided.isoformat()})
        for tracked in self._state.unresolved():
            answer = self._broker.order(tracked.order.client_order_id)
            if answer is None:
                if tracked.status in {Status.ACKED, Status.PARTIAL}:
                    key = tracked.order.client_order_id
                    raise self._refused(
                        None, f"the broker took order {key} and no longer knows it; look at the account."
                    )
                if tracked.status != Status.ABANDONED:
                    path = (
                        (Status.ABANDONED,) if tracked.status == Status.UNKNOWN else (Status.UNKNOWN, Status.ABANDONED)
                    )
                    self._record_order(tracked, path, None)
            elif answer.status != tracked.status or answer.filled != tracked.filled:
                self._record_order(tracked, steps_to(tracked.status, answer.status), answer)
        held = {symbol: units for symbol, units in self._broker.positions().items() if units}
        ours = self._state.positions
        if ours is None:
            self._record("baseline", {"positions": {symbol: str(units) for symbol, units in held.items()}})
            return
        increments = self._increments(self._actor.schema.symbols)
        for symbol in sorted(ours.keys() | held.keys()):
            mine, theirs = ours.get(symbol, Decimal(0)), held.get(symbol, Decimal(0))
            if abs(mine - theirs) > Decimal(repr(increments.get(symbol, 0.0))):
                raise self._refused(
                    None, f"our book says {mine} {symbol}, the broker {theirs}; find out why, then release by hand."
                )

    def _filled(self, symbols: tuple[str, ...], bar_close: datetime) -> Floats:
        filled = dict.fromkeys(symbols, Decimal(0))
        for tracked in self._state.orders.values():
            if tracked.bar_close == bar_close:
                filled[tracked.order.symbol] += tracked.signed_fill
        return np.array([float(units) for units in filled.values()])

    def _require_no_kill(self, bar_close: datetime) -> None:
        if self._kill_file is not None and self._kill_file.exists():
            raise self._refused(bar_close, f"{self._kill_file} exists; remove it to go on.")

    def _adopt(self, actor: TradingModel, model_version: str) -> None:
        if not actor.key or not model_version:
            raise TradingError("a model without key and registered version does not trade; register it first.")
        self._actor, self._version = actor, model_version
        self._record("start", {"arm": actor.arm, "schema": actor.schema.hash})

    def _refused(self, bar_close: datetime | None, reason: str) -> TradingError:
        self._record("refused", {"bar_close": bar_close and bar_close.isoformat(), "reason": reason})
        return TradingError(f"no orders: {reason}")

    def _record_order(self, tracked: TrackedOrder, path: tuple[Status, ...], answer: OrderState | None) -> None:
        try:
            # A step that is not legal must stop us before it is on disk: it would stop every restart, too.
            tracked.follow(path, filled=answer.filled if answer else None)
        except TradingError as error:
            raise self._refused(tracked.bar_close, str(error)) from error
        self._record("order", tracked.row(path, answer))

    def _record(self, kind: str, payload: dict[str, Any]) -> None:
        who = {"model": self._actor.key, "version": self._version}
        self._state.apply(self._ledger.record(kind, {**who, **payload}, at=self._clock.now()))


def _lots(units: float, increment: float) -> Decimal:
    """`units`, a float multiple of `increment`, as an exact decimal."""
    return round(units / increment) * Decimal(repr(increment))
