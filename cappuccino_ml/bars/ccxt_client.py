"""One ccxt exchange, heard at its own hooks: nothing that came over the wire is blurred, dropped or retried."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from cappuccino_ml.bars.bounded import BodyError, BoundedAdapter
from cappuccino_ml.bars.retries import RetrySettings, Transient, judge_status, retry_after_s, server_time
from cappuccino_ml.core import Clock, DataError, SourceError

Rows = list[list[Any]]  # [open time in ms, open, high, low, close, volume], unchecked, in the order in which they came


@dataclass(frozen=True)
class _Seen:
    """The last HTTP answer, as it came."""

    status: int
    headers: Mapping[str, str]
    body: str


class CcxtClient:
    """A ccxt exchange whose answers are sharp.

    ccxt reads HTML and cut JSON as "no rows", and of the rows it has it sorts and cuts: a page with repeated rows loses
    its end. Here anything that is not JSON is `Transient`, and all rows stay, in the order in which they came. ccxt
    calls a country block and a burnt-out server the same; here the HTTP status tells them apart.

    Args:
        ccxt: the library, imported by the one file that may.
        exchange: an id it has.
        url: another address of the same REST API, or None.
        retry: its bounds on one answer are used here; trying again is the caller's work.
        clock: the present moment.
        sleep: waits that many seconds, to keep the exchange's rate limit.
    """

    def __init__(
        self,
        ccxt: Any,
        exchange: str,
        *,
        url: str | None,
        retry: RetrySettings,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._errors = ccxt
        self._clock = clock
        self._retry = retry
        self._sleep = sleep
        self._seen: _Seen | None = None
        self.api: Any = getattr(ccxt, exchange)({"enableRateLimit": True, "timeout": round(retry.timeout_s * 1000)})
        self.api.enableLastJsonResponse = True
        self.api.options["maxRetriesOnFailure"] = 0  # ccxt would also retry what cannot get better
        _ask_for_spot_only(self.api)
        bounded = BoundedAdapter(silence_s=retry.timeout_s, answer_s=retry.answer_s)
        self.api.session.mount("https://", bounded)
        self.api.session.mount("http://", bounded)
        self._tap()
        if url is not None:
            self.api.urls["api"] = _at(self.api, self.api.urls["api"], url)

    @property
    def page_bars(self) -> int | None:
        """Most bars in one answer, as ccxt says."""
        spot = (self.api.features or {}).get("spot") or {}
        limit: int | None = (spot.get("fetchOHLCV") or {}).get("limit")
        return limit

    @property
    def server_now(self) -> datetime | None:
        """From the last answer's Date header."""
        return None if self._seen is None else server_time(self._seen.headers)

    @property
    def last_json(self) -> Any:
        """The last answer."""
        return self.api.last_json_response

    @property
    def words(self) -> str:
        """How the last answer begins, for messages."""
        text = " ".join(self._seen.body.split()) if self._seen is not None else ""
        return f"{text[:60]!r}{'...' if len(text) > 60 else ''}" if text else "nothing at all"

    def load_markets(self, *, what: str) -> None:
        """Fill `api.markets`; raises as `ohlcv` does."""
        self._call(what, lambda: self.api.load_markets(True))
        if not self.api.markets:
            raise Transient("a list without a market")

    def ohlcv(self, symbol: str, timeframe: str, *, since: int, limit: int, params: dict[str, Any], what: str) -> Rows:
        """One request for bars from `since` (ms) on.

        Raises:
            Transient: another try may help.
            SourceError: refused.
            DataError: no such symbol.
        """
        rows: Rows = self._call(what, lambda: self.api.fetch_ohlcv(symbol, timeframe, since, limit, params))
        return rows

    def _tap(self) -> None:
        """Put our ears on the hooks ccxt has for it."""
        api = self.api
        own_response, own_json = api.on_rest_response, api.parse_json

        def on_rest_response(code: int, reason: str, url: str, method: str, headers: Any, body: str, *rest: Any) -> Any:
            self._seen = _Seen(status=code, headers=headers, body=body)
            return own_response(code, reason, url, method, headers, body, *rest)

        def parse_json(text: str) -> Any:
            parsed = own_json(text)
            if parsed is None and self._seen is not None and self._seen.status < 400:
                raise Transient(f"HTTP {self._seen.status} and something that is not JSON, {self.words}")
            return parsed

        def parse_ohlcvs(raw: list[Any] | None, market: Any = None, *_: Any, **__: Any) -> Rows:
            return [api.parse_ohlcv(row, market) for row in raw or []]

        def throttle(cost: float | None = None) -> None:
            self._seen = None  # a request begins
            due_ms = api.lastRestRequestTimestamp + api.rateLimit * (1 if cost is None else cost)
            if (wait_ms := due_ms - api.milliseconds()) > 0:
                self._sleep(wait_ms / 1000)

        api.on_rest_response, api.parse_json, api.parse_ohlcvs, api.throttle = (
            on_rest_response,
            parse_json,
            parse_ohlcvs,
            throttle,
        )

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        self._seen = self.api.last_json_response = None
        try:
            return call()
        except self._errors.BaseError as error:
            wrong = self._meaning(what, error)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            wrong = Transient(f"an answer that ccxt cannot read ({type(error).__name__}), {self.words}")
        # Raised after the handlers: ccxt's errors hold the url, and those of the HTTP library the whole request.
        raise wrong

    def _meaning(self, what: str, error: Exception) -> Exception:
        """What to raise for what ccxt raised."""
        seen, ccxt, cause = self._seen, self._errors, error.__cause__ or error
        words = self.words if seen is not None else type(cause).__name__
        if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection) and seen is not None:
            return Transient(
                f"HTTP {seen.status}, {words}", retry_after_s=retry_after_s(seen.headers, self._clock.now())
            )
        if seen is not None and seen.status >= 400:
            return judge_status(
                seen.status, what=what, headers=seen.headers, now=self._clock.now(), said=_said(seen.body)
            )
        if isinstance(error, ccxt.RequestTimeout):
            return Transient(self._retry.no_answer)
        if isinstance(error, ccxt.OperationFailed):
            broken = str(cause) if isinstance(cause, BodyError) else f"a connection refused or cut ({words})"
            return Transient(words if seen is not None else broken)
        if isinstance(error, ccxt.BadSymbol):
            return DataError(f"{what} knows no such symbol ({words}); check the ticker and the quote currency.")
        return SourceError(f"{what} refused ({words}); check the symbol, the timeframe and the range.")


def _ask_for_spot_only(api: Any) -> None:
    """Exchanges whose list of markets comes in parts are asked for the spot part alone."""
    parts = api.options.get("fetchMarkets")
    if isinstance(parts, dict) and "spot" in (parts.get("types") or ()):
        api.options["fetchMarkets"] = {**parts, "types": ["spot"]}


def _at(api: Any, address: Any, url: str) -> Any:
    """The addresses, which may be nested, with the host of `url` and their own paths."""
    if isinstance(address, dict):
        return {name: _at(api, inner, url) for name, inner in address.items()}
    if not isinstance(address, str):
        return address
    new, old = urlsplit(url), urlsplit(api.implode_hostname(address))
    return urlunsplit((new.scheme, new.netloc, new.path.rstrip("/") + old.path, old.query, ""))


def _said(body: str) -> str:
    """The words in an error's JSON; a page of HTML has none worth repeating."""
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    found = [answer.get(key) for key in ("msg", "message", "error")] if isinstance(answer, dict) else []
    return next((str(words) for words in found if words), "")
