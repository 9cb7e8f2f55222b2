"""The trader: one closed bar in, orders out, every step in the ledger before it happens."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cappuccino_ml.bars.pager import silent
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import Clock, DataError, SchemaMismatch, TradingError, array_sha256
from cappuccino_ml.environment import Book, decide, per_ticker, shrink_buys
from cappuccino_ml.features import CONTEXT_BARS, WARM_UP_BARS, FeatureSchema
from cappuccino_ml.trading.broker import Broker, Quote
from cappuccino_ml.trading.feed import BarFeed, close_time, closed_rows
from cappuccino_ml.trading.journal import Journal, Mode
from cappuccino_ml.trading.ledger import Ledger
from cappuccino_ml.trading.limits import Limits
from cappuccino_ml.trading.model import ModelFailedError, TradingModel
from cappuccino_ml.trading.orders import Order, Side, client_order_id
from cappuccino_ml.trading.reconciliation import broker_errors, reconcile
from cappuccino_ml.trading.sizing import lots, no_entries, on_grid
from cappuccino_ml.trading.stream import FeatureStream
from cappuccino_ml.trading.submission import Submission

Floats = NDArray[np.float64]


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

    Raises TradingError, after writing the reason down, whenever it must not trade; the next tick starts afresh, unless
    the trader is HALTED: then a person has to look. Costs and guards are the model's own: live and backtest cannot
    differ.
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
        limits: Limits | None = None,
        kill_file: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = silent,
    ) -> None:
        """Verify the ledger, bring open orders to a known end and compare our book with the broker's.

        Args:
            actor: the model.
            model_version: its version in the registry; models without one are refused.
            feed: trailing bars.
            broker: where orders go.
            ledger: this account's history; a new one takes the broker's book as it is.
            clock: the only source of time.
            limits: of the account, beyond the model's guards.
            kill_file: while this file exists nothing is sent; it is looked for before every order.
            sleep: waits that many seconds, on the same time as `clock`.
            tell: is told every refusal, alarm and halt.

        Raises:
            TradingError: the ledger was altered, the trader is halted, or the books differ.
        """
        self._feed, self._broker, self._clock = feed, broker, clock
        self._limits = limits if limits is not None else Limits()
        self._journal = Journal(ledger, clock, tell=tell)
        self._state = self._journal.state
        self._features = FeatureStream()
        self._submission = Submission(
            broker=broker,
            journal=self._journal,
            clock=clock,
            sleep=sleep,
            limits=self._limits,
            kill_file=kill_file,
        )
        self._adopt(actor, model_version)
        self._journal.require_not_stopped()
        with broker_errors(self._journal, at_start=True):
            self._recover()

    @property
    def mode(self) -> Mode:
        """ACTIVE, REDUCING or HALTED; the latch lives in the ledger, so a restart does not lift it."""
        return self._journal.mode

    @property
    def why(self) -> str:
        """Why the mode is not ACTIVE; "" if it is."""
        return self._journal.why

    @property
    def peak(self) -> float:
        """Highest equity at a close so far, quote currency."""
        return self._state.peak

    def swap(self, *, actor: TradingModel, model_version: str) -> None:
        """Let another model decide from the next bar on; book, peak and halt stay as they are."""
        self._adopt(actor, model_version, swapped=True)

    def ask_to_stop(self) -> None:
        """Nothing is sent from here on; safe to call from a signal handler. `stop` then ends what is open."""
        self._submission.hurry()

    def stop(self) -> None:
        """Cancel our open orders, compare the books a last time and say so in the ledger.

        Raises:
            TradingError: the broker is silent or the books differ; the next start clears it up.
        """
        self._submission.begin()
        self.ask_to_stop()
        with broker_errors(self._journal):
            self._recover()
        self._journal.record("stopped", {})

    def tick(self) -> Tick:
        """Decide on the newest closed bar and trade it, once.

        Raises:
            TradingError: halted, schema mismatch, too few bars, non-finite action, book unlike the broker's, broken
                ledger, silent broker.
        """
        self._journal.require_not_stopped()
        self._submission.begin()
        now = self._clock.now()
        panel = self._feed.panel(now)
        closed = closed_rows(panel, now)
        panel = panel.slice(max(0, closed - CONTEXT_BARS), closed)
        if len(panel) == 0:
            raise self._journal.refused(None, "the feed has no closed bar; check the bar source.")
        bar_close = close_time(panel, -1)
        overdue = now > self._fresh_until(panel.universe, bar_close + panel.universe.bar)
        if self._state.decided is not None and bar_close <= self._state.decided and not overdue:
            return Tick("repeated", bar_close)
        if now > self._fresh_until(panel.universe, bar_close):
            self._journal.alarm(f"the newest bar closed at {bar_close.isoformat()} and is stale; look at the feed")
            self._journal.record("stale", {"bar_close": bar_close.isoformat()})
            return Tick("stale", bar_close)
        self._submission.gate(bar_close)
        with broker_errors(self._journal):
            self._recover()
            return self._trade(panel, bar_close)

    def _trade(self, panel: BarPanel, bar_close: datetime) -> Tick:
        window = self._window(panel, bar_close)
        book, held = self._book(panel, bar_close)
        close = torch.from_numpy(panel.close[-1])
        equity = float(book.mark(close, self._actor.guards))
        if not equity > 0:
            raise self._journal.refused(
                bar_close, f"equity is {equity}; there is nothing to trade with, fund the account."
            )
        mark = {"bar_close": bar_close.isoformat(), "equity": equity, "peak": float(book.peak)}
        self._journal.record("mark", {**mark, "halted": bool(book.halted)})
        entries = book.entries(close)[0].numpy()
        action = self._action(window, entries, bar_close)
        orders = decide(
            book, torch.from_numpy(action)[None], close, guards=self._actor.guards, costs=self._actor.costs
        )[0]
        reason = no_entries(panel, orders=orders.numpy(), journal=self._journal, limits=self._limits, equity=equity)
        if reason:
            orders = orders.clamp(max=0)
        # From here on the bar is spent: whatever happens, it is never decided again.
        symbols = panel.universe.symbols
        memory = dict(zip(symbols, book.positions.memory_of(0), strict=True))
        decision = {"bar_close": bar_close.isoformat(), "action": action.tolist(), "orders": orders.tolist()}
        seen = {"symbols": symbols, "features": array_sha256(window)[:16], "entries": entries.tolist()}
        self._journal.record("decision", {**decision, **seen, "no_entries": reason, "memory": memory})
        increments = self._increments()
        names = [symbol for column, symbol in enumerate(symbols) if orders[column] < 0]
        quotes = self._tradable(names) if names else {}
        for column, symbol in enumerate(symbols):
            if symbol in quotes:
                everything = -orders[column] >= book.units[0, column]
                quantity = held[symbol] if everything else lots(-float(orders[column]), increments[symbol])
                sold = self._send("sell", symbol, min(quantity, held[symbol]), quotes[symbol], bar_close)
                if everything and not sold:
                    self._crumb(symbol, quotes[symbol])
        self._submission.settle(bar_close)
        self._buy(orders.clamp(min=0), symbols, bar_close)
        self._submission.settle(bar_close)
        self._journal.record("done", {"bar_close": bar_close.isoformat()})
        units = self._state.filled_of(bar_close)
        filled = np.array([float(units.get(symbol, 0)) for symbol in symbols])
        return Tick("traded", bar_close, equity=equity, action=action, decided=orders.numpy(), filled=filled)

    def _window(self, panel: BarPanel, bar_close: datetime) -> Floats:
        """Features [L, N, F] of the last L closed bars."""
        try:
            self._actor.schema.require_same(FeatureSchema.of(panel.universe), what="the bar feed")
        except SchemaMismatch as error:
            raise self._journal.refused(bar_close, str(error), error=ModelFailedError) from error
        needed = WARM_UP_BARS + self._actor.lookback
        if len(panel) < needed:
            raise self._journal.refused(
                bar_close, f"{len(panel)} closed bars, {needed} are needed; wait or load more history."
            )
        try:
            window = self._features.window(panel, lookback=self._actor.lookback)
        except DataError as error:
            raise self._journal.refused(bar_close, str(error)) from error
        if not np.isfinite(window).all():
            raise self._journal.refused(bar_close, "a feature of the newest bars is not finite; audit the bars.")
        return window

    def _book(self, panel: BarPanel, bar_close: datetime) -> tuple[Book, dict[str, Decimal]]:
        """The broker's account as a book of one, not marked yet, and the units that may be sold now, exactly."""
        symbols = panel.universe.symbols
        account, positions = self._broker.account(), self._broker.positions()
        cash = account.cash
        held = {symbol: positions.get(symbol, Decimal(0)) for symbol in symbols}
        strange = sorted(symbol for symbol, units in positions.items() if units and symbol not in held)
        if strange:
            raise self._journal.refused(
                bar_close, f"the account holds {', '.join(strange)}, outside the universe; sell it by hand."
            )
        if not cash.is_finite() or cash < 0 or any(not units.is_finite() or units < 0 for units in held.values()):
            raise self._journal.refused(bar_close, "the broker reports negative cash or units; look at the account.")
        units = [float(each) for each in held.values()]
        book = self._state.book(panel, cash=float(cash), units=units, guards=self._actor.guards)
        return book, {symbol: units - account.reserved.get(symbol, Decimal(0)) for symbol, units in held.items()}

    def _action(self, window: Floats, entries: NDArray[np.float32], bar_close: datetime) -> Floats:
        if self._state.halted:  # `decide` sells everything: a broken model must not stand in the way
            return np.zeros(len(entries) - 1)
        try:
            action = np.asarray(self._actor.act(window, entries), dtype=np.float64)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = f"the model failed ({type(error).__name__}: {str(error).rstrip('.')})."
            raise self._journal.refused(bar_close, reason, error=ModelFailedError) from error
        if action.shape != (len(entries) - 1,) or not np.isfinite(action).all():
            reason = f"the model's action {action.tolist()} is not finite or of the wrong shape."
            raise self._journal.refused(bar_close, reason, error=ModelFailedError)
        return action

    def _buy(self, wished: torch.Tensor, symbols: tuple[str, ...], bar_close: datetime) -> None:
        """Send the buys that the cash left after the sells can pay at the quotes now, all shrunk by one share."""
        names = [symbol for column, symbol in enumerate(symbols) if wished[column] > 0]
        if not names:
            return
        quotes = self._tradable(names)
        price = torch.tensor(
            [float(quotes[symbol].price) if symbol in quotes else 1.0 for symbol in symbols], dtype=torch.float64
        )
        wished = torch.where(torch.tensor([symbol in quotes for symbol in symbols]), wished, 0.0)
        cash = torch.tensor([float(self._broker.account().cash)], dtype=torch.float64)
        buys = shrink_buys(wished[None], price, cash, self._actor.costs)[0]
        increments = self._increments()
        for column, symbol in enumerate(symbols):
            quantity = lots(float(buys[column]), increments[symbol])
            if quantity > 0:
                self._send("buy", symbol, quantity, quotes[symbol], bar_close)

    def _tradable(self, symbols: list[str]) -> dict[str, Quote]:
        """Quotes of the symbols that trade now; the others are written down and get no order."""
        quotes = {
            symbol: quote
            for symbol, quote in self._broker.quotes(symbols).items()
            if quote.tradable and quote.price.is_finite() and quote.price > 0
        }
        for symbol in symbols:
            if symbol not in quotes:
                self._journal.record("skipped", {"symbol": symbol, "reason": "it does not trade now"})
        return quotes

    def _increments(self) -> dict[str, float]:
        """Base units of one lot, by symbol."""
        symbols = self._actor.schema.symbols
        return dict(zip(symbols, per_ticker(self._actor.costs.increment, tickers=len(symbols)), strict=True))

    def _send(self, side: Side, symbol: str, quantity: Decimal, quote: Quote, bar_close: datetime) -> bool:
        """Send one order in a size the venue takes; what it would not take is written down and not sent (False)."""
        quantity, reason = on_grid(quantity, side=side, quote=quote)
        if reason:
            self._journal.record("skipped", {"symbol": symbol, "reason": reason})
            return False
        leg = 0 if side == "sell" else 1
        key = client_order_id(model=self._actor.key, symbol=symbol, bar_close=bar_close, leg=leg)
        until = self._fresh_until(self._actor.schema.universe, bar_close)
        self._submission.send(Order(key, symbol, side, quantity), bar_close=bar_close, fresh_until=until)
        return True

    def _crumb(self, symbol: str, quote: Quote) -> None:
        """A whole position that the venue is too coarse to sell, not one that waits for another order, is forgotten."""
        units = self._state.positions.get(symbol, Decimal(0)) if self._state.positions else Decimal(0)
        if on_grid(units, side="sell", quote=quote)[1]:
            self._journal.record("crumb", {"symbol": symbol, "cooldown": self._actor.guards.cooldown_bars + 1})

    def _recover(self) -> None:
        """Bring every open order to a known end, then compare books. Runs at the start and before each decision."""
        reconcile(
            broker=self._broker,
            journal=self._journal,
            submission=self._submission,
            clock=self._clock,
            limits=self._limits,
            increments={symbol: Decimal(repr(size)) for symbol, size in self._increments().items()},
        )

    def _fresh_until(self, universe: Universe, bar_close: datetime) -> datetime:
        return bar_close + self._limits.max_age_bars * universe.bar

    def _adopt(self, actor: TradingModel, model_version: str, *, swapped: bool = False) -> None:
        if not actor.key or not model_version:
            raise TradingError("a model without key and registered version does not trade; register it first.")
        self._actor = actor
        self._journal.sign_as(model=actor.key, version=model_version)
        self._journal.record("start", {"arm": actor.arm, "schema": actor.schema.hash, "swapped": swapped})
