"""Bars from any exchange that ccxt speaks to, through our own pager and with ccxt's blurred answers made sharp."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import pandas as pd

from cappuccino_ml.bars.ccxt_client import CcxtClient, Rows
from cappuccino_ml.bars.ccxt_venues import venue_of
from cappuccino_ml.bars.pager import LAST_MS, Page, fetch_pages, silent
from cappuccino_ml.bars.retries import RetrySettings, Transient, ask_patiently
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import Clock, ConfigurationError, DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
DEFAULT_RETRY = RetrySettings()
_USUAL = ("binance", "coinbase", "kraken")


class CcxtSource:
    """Spot bars of one exchange, public data only: no keys are read or sent.

    Args:
        exchange: ccxt's id, such as `kraken`, `coinbase` or `binance`.
        since: first bar open that is offered, with time zone.
        clock: the present moment.
        url: another address of the same REST API, `http(s)://host[:port][/path]`; the API's own paths follow it.
        retry: tries, waits, deadline and timeout of one request.
        sleep: waits that many seconds, between tries and to keep the exchange's rate limit.
        tell: is told about progress.

    Raises:
        ConfigurationError: ccxt knows no such exchange, `since` has no time zone, or the url is of another form.
    """

    name = "ccxt"

    def __init__(
        self,
        exchange: str,
        *,
        since: datetime,
        clock: Clock,
        url: str | None = None,
        retry: RetrySettings = DEFAULT_RETRY,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = silent,
    ) -> None:
        # Half a second that only those who ask an exchange should pay.
        import ccxt  # noqa: PLC0415

        if exchange not in ccxt.exchanges:
            near = get_close_matches(exchange.lower(), ccxt.exchanges, n=3, cutoff=0.5) or _USUAL
            raise ConfigurationError(
                f"ccxt has no exchange {exchange!r}; choose one it has, such as {', '.join(near)}."
            )
        if since.tzinfo is None:
            raise ConfigurationError(f"the first bar to offer, {since}, has no time zone; write it as {since}+00:00.")
        if url is not None:
            _require_plain(url)
        self.exchange = exchange
        self.since = since
        self._clock = clock
        self._retry = retry
        self._sleep = sleep
        self._tell = tell
        self._keeps_since = False  # proven, for a venue that nobody has studied
        self._client = CcxtClient(ccxt, exchange, url=url, retry=retry, clock=clock, sleep=sleep)
        self._venue = venue_of(exchange, page_bars=self._client.page_bars)

    @property
    def label(self) -> str:
        """`ccxt kraken`."""
        return f"{self.name} {self.exchange}"

    def identity(self) -> dict[str, Any]:
        """The exchange: what it serves depends neither on where we begin nor on the address."""
        return {"name": self.name, "exchange": self.exchange}

    def coverage(self, universe: Universe) -> tuple[datetime, None]:
        """From `since` on, without an end."""
        return self.since, None

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        """Closed bars that open in [start, end); see `BarSource.fetch`."""
        self._require_timeframe(universe.timeframe)
        market = self._market(symbol)
        self._require_served(symbol, universe.bar, start, end)

        def ask(*, since: datetime, until: datetime, limit: int) -> Page:
            return self._page(market, universe, since=since, until=until, limit=limit)

        return fetch_pages(
            ask,
            venue=self.exchange,
            symbol=symbol,
            bar=universe.bar,
            start=start,
            end=end,
            limit=self._venue.page_bars,
            clock=self._clock,
            retry=self._retry,
            sleep=self._sleep,
            tell=self._tell,
        )

    # Refused before anything is asked for

    def _require_timeframe(self, timeframe: str) -> None:
        held = list(self._client.api.timeframes or {})
        if timeframe not in held:
            raise ConfigurationError(
                f"{self.exchange} has no {timeframe} bars; set the timeframe to one it has ({', '.join(held)}), "
                "4h and 1d can be built from 1h bars."
            )

    def _require_served(self, symbol: str, bar: timedelta, start: datetime, end: datetime) -> None:
        if not self._venue.newest_only or start >= end:
            return
        now = self._clock.now()
        oldest = now - (now - _EPOCH) % bar - (self._venue.page_bars - 1) * bar  # the forming bar is one of them
        if start <= oldest - bar:
            raise DataError(
                f"{self.exchange} serves only its newest {self._venue.page_bars} bars of {symbol}, the oldest at "
                f"{oldest:%Y-%m-%dT%H:%MZ}, and was asked for {start:%Y-%m-%dT%H:%MZ}; "
                "begin there or take older bars from binance, coinbase or files."
            )

    def _market(self, symbol: str) -> dict[str, Any]:
        """The market of `BTC-USD` in ccxt's words; the list of markets is loaded once."""
        if not self._client.api.markets:
            what = f"{self.exchange}, asked for its markets,"
            ask_patiently(lambda: self._client.load_markets(what=what), what=what, retry=self._retry, sleep=self._sleep)
        base, _, quote = symbol.rpartition("-")
        market: dict[str, Any] | None = self._client.api.markets.get(f"{base}/{quote}")
        if market is None or not market.get("spot"):
            raise self._unlisted(base, quote)
        return market

    def _unlisted(self, base: str, quote: str) -> DataError:
        spot = [market for market in self._client.api.markets.values() if market.get("spot")]
        quotes = {market["quote"] for market in spot if market["base"] == base}
        # Near ones first: for USD the dollar tokens, and of them the one with the longest history.
        near = sorted(quotes, key=lambda held: (held[:3] != quote[:3], held not in ("USD", "USDT"), held))
        if near:
            return DataError(
                f"{self.exchange} does not list {base}/{quote}; it lists "
                f"{', '.join(f'{base}/{held}' for held in near[:6])}: set the quote currency to {near[0]}."
            )
        bases = sorted({market["base"] for market in spot})
        return DataError(
            f"{self.exchange} does not list {base} against anything; its tickers are such as "
            f"{', '.join(get_close_matches(base, bases, n=3) or bases[:3])}: take another ticker or another exchange."
        )

    # One page

    def _page(
        self, market: dict[str, Any], universe: Universe, *, since: datetime, until: datetime, limit: int
    ) -> Page:
        first, stop, step = (since - _EPOCH) // _MS, (until - _EPOCH) // _MS, universe.bar // _MS
        what = f"{self.exchange}, asked for bars of {market['symbol']} from {since:%Y-%m-%dT%H:%MZ},"

        def rows_between(low: int, high: int) -> Rows:
            return self._rows(what, market, universe.timeframe, since=low, until=high, limit=-(-(high - low) // step))

        rows = rows_between(first, stop)
        now = self._client.server_now
        if not self._venue.known:
            rows = self._earlier_rows_too(rows, rows_between, first, stop, step)
        opens = [row[0] for row in rows]
        inside = [opened for opened in opens if first <= opened < stop]
        if self._venue.takes_until and len(inside) < len(opens):
            if inside and min(opens) <= first:
                return Page(rows, exhausted=False, server_now=now)
            raise Transient(f"bars from {_text(min(opens))} to {_text(max(opens))}, which were not asked for")
        if self._venue.newest_only:
            # Asked from `first` on it goes on to the newest bar; a page that holds older rows is a page of before.
            return Page(rows, exhausted=not opens or min(opens) >= first - step, server_now=now)
        # A venue nobody studied may have shorter pages than we asked for.
        whole = self._venue.known or not opens or max(opens) >= stop - step
        return Page(rows, exhausted=whole, server_now=now)

    def _rows(self, what: str, market: dict[str, Any], timeframe: str, *, since: int, until: int, limit: int) -> Rows:
        params = {"until": until - 1} if self._venue.takes_until else {}
        rows = self._client.ohlcv(market["symbol"], timeframe, since=since, limit=limit, params=params, what=what)
        if not self._venue.is_answer(self._client.last_json, str(market["id"])):
            raise Transient(f"JSON without bars in it, {self._client.words}")
        if strange := [row for row in rows if not (isinstance(row, list) and _is_time(row[0]))]:
            raise Transient(f"{len(strange)} of {len(rows)} rows without a time in ms, such as {strange[0]!r:.100}")
        return rows

    def _earlier_rows_too(
        self, rows: Rows, rows_between: Callable[[int, int], Rows], first: int, stop: int, step: int
    ) -> Rows:
        """`rows`, and those before them that a venue nobody has studied left out, or proof that there are none.

        Some venues have smaller pages than they say and cut them at the old end; others ignore where a page should
        begin. Both look like a hole at the beginning, so a hole there is asked for once more on its own.
        """
        while rows and (oldest := min(row[0] for row in rows)) > first:
            edge = min(oldest, stop)
            earlier = [row for row in rows_between(first, edge) if first <= row[0] < edge]
            if not earlier:
                self._require_beginning_kept(rows, rows_between, step)
                break
            rows = earlier + rows
        return rows

    def _require_beginning_kept(self, rows: Rows, rows_between: Callable[[int, int], Rows], step: int) -> None:
        oldest, newest = min(row[0] for row in rows), max(row[0] for row in rows)
        if self._keeps_since or newest - oldest < 2 * step:
            return
        again = [row[0] for row in rows_between(newest, newest + step)]
        if again and min(again) < newest - step:
            raise DataError(
                f"{self.exchange} sends bars from {_text(oldest)} on, wherever it is asked to begin; "
                "begin there or take older bars from binance, coinbase or files."
            )
        self._keeps_since = True


def _is_time(opened: object) -> bool:
    return isinstance(opened, int | float) and 0 <= opened <= LAST_MS


def _require_plain(url: str) -> None:
    """Refuse a url of another form, without repeating it: it may hold a password."""
    if "@" in url:
        raise ConfigurationError(
            "the url for the exchange holds a user name or password, which would end in logs; "
            "write it without, and let the proxy know this machine by its address."
        )
    if "://" not in url:
        raise ConfigurationError(
            "the url for the exchange does not say http:// or https://; put it in front, as in http://localhost:8000."
        )
    found = re.fullmatch(r"https?://(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?(?:/[\w.~%/+-]*)?", url, re.ASCII)
    if found is None or int(found[1] or 0) > 65_535:
        raise ConfigurationError(
            "the url for the exchange is not of the form http(s)://host[:port][/path]; "
            "write it so, as in http://127.0.0.1:8000."
        )


def _text(ms: float) -> str:
    return f"{_EPOCH + int(ms) * _MS:%Y-%m-%dT%H:%MZ}"
