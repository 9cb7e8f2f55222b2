"""Live bars straight from their source, history from the lake: the trader reads the lake and never writes it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd

from cappuccino_ml.bars import OVERLAP_BARS, BarPanel, BarSource, Universe, align, fetch_bars
from cappuccino_ml.core import DataError, SourceError
from cappuccino_ml.features import CONTEXT_BARS
from cappuccino_ml.trading.broker import BrokerSilentError, Quote

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
History = Callable[[datetime], pd.DataFrame]


class SourceFeed:
    """The trailing `CONTEXT_BARS` bars, as the source tells them.

    The first question is for what the history lacks; each later one for the newest `OVERLAP_BARS` of every symbol
    again, because they may be late or revised. A hole longer than the lake's fill cap is filled here: the trader stops
    entries by itself while a symbol has no newest bar, and its exits must go on.
    """

    def __init__(
        self, source: BarSource, universe: Universe, *, history: History, since: datetime | None = None
    ) -> None:
        """Ask nothing yet.

        Args:
            source: where bars come from; what it raises passes through.
            universe: the symbols, in order.
            history: stored bars in long form that open at or after the given time; may be empty.
            since: the source has no bars that open before it.
        """
        self._source, self._universe, self._history, self._since = source, universe, history, since
        self._known: dict[str, pd.DataFrame] = {}

    def panel(self, now: datetime) -> BarPanel:
        """Closed bars at `now` on the common grid.

        Raises:
            SourceError: the source could not be reached or refused; what was known before stays known.
            DataError: what it holds is not bars, or a symbol has none.
        """
        bar = self._universe.bar
        closed = floor(now, bar)
        begin = closed - CONTEXT_BARS * bar
        begin = begin if self._since is None else max(begin, floor(self._since + bar - timedelta.resolution, bar))
        if not self._known:
            stored = self._history(begin)
            self._known = {symbol: stored[stored["symbol"] == symbol] for symbol in self._universe.symbols}
        for symbol in self._universe.symbols:
            known = self._known[symbol]
            first = max(begin, known["timestamp"].max() - (OVERLAP_BARS - 1) * bar) if len(known) else begin
            fresh = fetch_bars(self._source, symbol, self._universe, first, closed).assign(symbol=symbol)
            merged = pd.concat([known, fresh]) if len(known) else fresh
            merged = merged.drop_duplicates("timestamp", keep="last").sort_values("timestamp", ignore_index=True)
            self._known[symbol] = merged[merged["timestamp"] >= begin].reset_index(drop=True)
        return align(pd.concat(self._known.values()), self._universe, start=begin, cap_bars=CONTEXT_BARS)


class SourceQuotes:
    """Prices for a simulated broker: the open of the forming bar where the source shows it, else the newest close."""

    def __init__(self, source: BarSource, universe: Universe, *, now: Callable[[], datetime]) -> None:
        """Ask nothing yet; `now` tells the time."""
        self._source, self._universe, self._now = source, universe, now
        self._at: datetime | None = None
        self._quotes: dict[str, Quote] = {}

    def __call__(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """One quote per symbol and bar; a symbol without a bar in the last two does not trade.

        Raises:
            BrokerSilentError: the source could not be asked.
        """
        bar = self._universe.bar
        opened = floor(self._now(), bar)
        if opened != self._at:
            self._at, self._quotes = opened, {}
        try:
            for symbol in symbols:
                if symbol not in self._quotes:
                    self._quotes |= self._quote(symbol, opened)
        except (SourceError, DataError) as error:
            raise BrokerSilentError(f"no quote: {error}") from None
        return {symbol: self._quotes[symbol] for symbol in symbols if symbol in self._quotes}

    def _quote(self, symbol: str, opened: datetime) -> dict[str, Quote]:
        bar = self._universe.bar
        bars = fetch_bars(self._source, symbol, self._universe, opened - 2 * bar, opened + bar)
        if not len(bars):
            return {}
        newest = bars.iloc[-1]
        price = newest["open"] if newest["timestamp"] >= pd.Timestamp(opened) else newest["close"]
        return {symbol: Quote(price=Decimal(repr(float(price))), tradable=True)}


def floor(moment: datetime, bar: timedelta) -> datetime:
    """The grid's last time at or before `moment`, UTC."""
    return (moment - (moment - _EPOCH) % bar).astimezone(UTC)
