"""Alpaca's crypto bars through alpaca-py: one symbol a request, paged by time, keys optional."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import SecretStr

from cappuccino_ml.bars.bounded import BodyError, BoundedAdapter
from cappuccino_ml.bars.pager import Page, fetch_pages, silent
from cappuccino_ml.bars.retries import RetrySettings, Transient, judge_status, server_time
from cappuccino_ml.bars.schema import BAR_COLUMNS, empty_bars
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import Clock, ConfigurationError, DataError, SourceError

if TYPE_CHECKING:  # the SDK is imported when bars are fetched: it takes half a second
    from alpaca.data.historical.crypto import CryptoHistoricalDataClient
    from requests import Response

FEED = "us"
MOST_ROWS = 10_000  # of one answer, all symbols together
KEY_NAMES = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")  # in the environment: the names that Alpaca's own tools read
HOSTS = ("data.alpaca.markets", "data.sandbox.alpaca.markets")

# No 1d: Alpaca's days begin at midnight in Chicago. No 4h either: both are built from 1h.
_TIMEFRAMES = {"1m": "1Min", "5m": "5Min", "15m": "15Min", "30m": "30Min", "1h": "1Hour"}
_MOST_EMPTY_PAGES = 20  # in a row, each with a token for the next
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = ("o", "h", "l", "c", "v")


class AlpacaSource:
    """Crypto bars of Alpaca. A bar without trades is a bar: its prices are quotes and its volume is 0.

    The keys are kept as secrets and exist in the clear only inside the client of one running `fetch`.

    Args:
        since: first bar open offered, with time zone.
        clock: the present moment, where the server does not tell its own.
        key: API key id; Alpaca gives crypto bars without keys too, at a lower rate.
        secret: API secret key; both keys or none.
        url: another host than the SDK's: an https data host of Alpaca, or a loopback address.
        retry: tries, waits, and the bounds on one answer.
        sleep: waits that many seconds between tries.
        tell: is told about progress and holes.

    Raises:
        ConfigurationError: `since` has no zone, one key of two, a key no header can carry, or another url.
    """

    name = "alpaca"
    label = "alpaca"

    def __init__(
        self,
        *,
        since: datetime,
        clock: Clock,
        key: SecretStr | None = None,
        secret: SecretStr | None = None,
        url: str | None = None,
        retry: RetrySettings | None = None,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = silent,
    ) -> None:
        if since.tzinfo is None:
            raise ConfigurationError(f"since {since:%Y-%m-%dT%H:%M} has no time zone; write it as 2024-01-01T00:00Z.")
        _check_keys(key, secret)
        self._since = since
        self._clock = clock
        self._keys = (key, secret) if key and secret else None
        self._url = None if url is None else _checked_url(url)
        self._retry = retry if retry is not None else RetrySettings()
        self._sleep = sleep
        self._tell = tell

    def identity(self) -> dict[str, Any]:
        """The feed: whoever asks, with keys or without, gets the same bars."""
        return {"name": self.name, "feed": FEED}

    def coverage(self, universe: Universe) -> tuple[datetime, datetime | None]:
        """From `since` on; new bars keep coming."""
        _timeframe(universe)
        return self._since, None

    def fetch(self, *, symbol: str, universe: Universe, start: datetime, end: datetime) -> pd.DataFrame:
        """Closed bars that open in [start, end), none before `since`.

        Alpaca answers for a symbol it has never had as it does for a quiet one: without bars.

        Raises:
            DataError: Alpaca refuses the symbol or the range.
            SourceError: Alpaca cannot be reached, refuses the keys, or does not answer with bars.
            ConfigurationError: the timeframe is 4h or 1d.
        """
        timeframe = _timeframe(universe)
        first = max(start, self._since)
        if first >= end:
            return empty_bars(BAR_COLUMNS)
        bars = _Bars(
            symbol=symbol,
            timeframe=timeframe,
            bar=universe.bar,
            keys=self._keys,
            url=self._url,
            retry=self._retry,
            clock=self._clock,
        )
        try:
            return fetch_pages(
                bars.ask,
                venue=self.name,
                symbol=symbol,
                bar=universe.bar,
                start=first,
                end=end,
                limit=MOST_ROWS,
                clock=self._clock,
                retry=self._retry,
                sleep=self._sleep,
                tell=self._tell,
            )
        finally:
            bars.close()


class _Bars:
    """Asks for one symbol's bars over one connection."""

    def __init__(
        self,
        *,
        symbol: str,
        timeframe: str,
        bar: timedelta,
        keys: tuple[SecretStr, SecretStr] | None,
        url: str | None,
        retry: RetrySettings,
        clock: Clock,
    ) -> None:
        self._symbol = symbol
        self._name = symbol.replace("-", "/")  # bars say BTC/USD
        self._timeframe = timeframe
        self._bar = bar
        self._keys = keys
        self._retry = retry
        self._clock = clock
        self._answer: Response | None = None  # the last one, whatever its status
        self._client = self._open(url)

    def ask(self, *, since: datetime, until: datetime, limit: int) -> Page:
        """Bars that open in [since, until); see `AskPage`.

        The next page is asked for by time: a token dies with its connection and may repeat, a time can be resumed.
        Only behind a page without bars there is no time to go on from, so there the tokens are followed.
        """
        last_open = until - timedelta(microseconds=1)
        last_open -= (last_open - _EPOCH) % self._bar
        asked = {
            "symbols": self._name,
            "timeframe": self._timeframe,
            "start": _text(since),
            "end": _text(last_open),  # inclusive
            "limit": limit,
        }
        tokens: list[str] = []
        while True:
            rows, token = self._rows(self._get(asked | ({"page_token": tokens[-1]} if tokens else {})))
            if rows or token is None:
                assert self._answer is not None
                return Page(rows=rows, exhausted=token is None, server_now=server_time(self._answer.headers))
            if token in tokens or len(tokens) >= _MOST_EMPTY_PAGES:
                seen = "the same page token twice" if token in tokens else f"{len(tokens)} page tokens"
                raise SourceError(
                    f"alpaca sent {seen} and no bars of {self._symbol} between {_text(since)} and {_text(last_open)}, "
                    "so its pages lead nowhere; run it again later."
                )
            tokens.append(token)

    def close(self) -> None:
        """Close the connection."""
        self._client._session.close()

    def _open(self, url: str | None) -> "CryptoHistoricalDataClient":
        from alpaca.data.historical.crypto import CryptoHistoricalDataClient  # noqa: PLC0415

        def hear(answer: "Response") -> None:
            self._answer = answer  # the SDK shows a body only

        key, secret = (None, None) if self._keys is None else (each.get_secret_value() for each in self._keys)
        client = CryptoHistoricalDataClient(api_key=key, secret_key=secret, raw_data=True, url_override=url)
        client._retry = 0  # else it sends a 429 or a 504 four times, 3 s apart, whatever Retry-After says
        # The SDK has no time-out at all.
        bounded = BoundedAdapter(silence_s=self._retry.timeout_s, answer_s=self._retry.answer_s, heard=hear)
        client._session.mount("https://", bounded)
        client._session.mount("http://", bounded)
        return client

    def _get(self, asked: dict[str, Any]) -> object:
        """The JSON of one request.

        `client.get`, not `get_crypto_bars`: that follows the page tokens itself, for ever if one repeats, and drops
        the pages it has when a later one fails. `get` puts the host and /v1beta3 in front, the keys in the headers.
        """
        from alpaca.common.exceptions import APIError  # noqa: PLC0415
        from requests import RequestException, Timeout  # noqa: PLC0415

        self._answer = None
        answer, wrong, said = None, "", ""
        try:
            answer = self._client.get(f"/crypto/{FEED}/bars", asked)
        except APIError as error:
            said = self._words(str(error))
        except Timeout:
            wrong = self._retry.no_answer
        except BodyError as error:
            wrong = str(error)
        except RequestException as error:
            wrong = "a body that is not JSON" if isinstance(error, ValueError) else "a connection refused or cut"
        except (ValueError, RecursionError):
            wrong = "a body that is not JSON"
        # Judged after the handlers: the SDK's errors hold the request, keys included, and must not hang on ours.
        if self._answer is not None and self._answer.status_code != 200:
            raise self._judged(self._answer, said)
        if wrong:
            raise Transient(wrong)
        return answer

    def _judged(self, answer: "Response", said: str) -> Exception:
        status, now = answer.status_code, server_time(answer.headers) or self._clock.now()
        if status < 400:
            return Transient(f"HTTP {status}, which carries no bars")
        if status in (400, 404, 422):
            return DataError(
                f"alpaca does not serve {self._timeframe} bars of {self._name} (HTTP {status}"
                f"{': ' + said if said else ''}); take {self._symbol} out of the universe or choose another source."
            )
        if status in (401, 403):
            what = "refused the keys" if self._keys else "wants keys"
            return SourceError(
                f"alpaca {what} (HTTP {status}); set {' and '.join(KEY_NAMES)} in the environment to a valid pair, "
                "or leave out both, with which it also gives crypto bars."
            )
        headers, reset = dict(answer.headers), answer.headers.get("X-RateLimit-Reset", "")
        if status == 429 and "Retry-After" not in answer.headers and re.fullmatch("[0-9]{1,12}", reset):
            headers["Retry-After"] = str(max(0.0, int(reset) - now.timestamp()))  # the second the count begins anew
        return judge_status(status, what="alpaca", headers=headers, now=now, said=said)

    def _words(self, body: str) -> str:
        """What the server says in an error's body, cut short and without the keys, should it repeat them."""
        try:
            said = str(json.loads(body)["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        for each in self._keys or ():
            said = said.replace(each.get_secret_value(), "***")
        return " ".join(said.split())[:120]

    def _rows(self, answer: object) -> tuple[list[list[float]], str | None]:
        """The symbol's rows and the token of the next page.

        "No bars" is an answer with both keys whose `bars` is an empty object, or null, as Go writes an empty map.
        """
        if not isinstance(answer, dict) or not {"bars", "next_page_token"} <= answer.keys():
            raise Transient("an answer without bars and next_page_token")
        bars, token = {} if answer["bars"] is None else answer["bars"], answer["next_page_token"]
        if not isinstance(bars, dict) or not (token is None or (isinstance(token, str) and token)):
            raise Transient("an answer whose bars or next_page_token is of another kind")
        if bars and self._name not in bars:
            raise Transient(f"bars of other symbols than {self._name}")
        rows = bars.get(self._name, [])
        if not isinstance(rows, list):
            raise Transient("bars that are not a list")
        return [_row(row) for row in rows], token


def _row(row: object) -> list[float]:
    """[open time in ms, open, high, low, close, volume]; that they are a bar's is for the pager to see."""
    if not isinstance(row, dict) or not isinstance(row.get("t"), str):
        raise Transient("a bar without a time")
    values: list[Any] = [row.get(name) for name in _FIELDS]
    if any(type(value) not in (int, float) for value in values):
        raise Transient("a bar whose prices or volume are not numbers")
    try:
        opened = datetime.fromisoformat(row["t"])  # digits beyond the microseconds are cut
        return [(opened - _EPOCH) / timedelta(milliseconds=1), *map(float, values)]
    except (ValueError, OverflowError, TypeError) as error:  # TypeError: a time without a zone
        raise Transient("a bar whose time or a value cannot be read") from error


def _timeframe(universe: Universe) -> str:
    if universe.timeframe not in _TIMEFRAMES:
        raise ConfigurationError(
            f"alpaca has no {universe.timeframe} bars on the UTC grid (its days begin at midnight in Chicago); set "
            f"the timeframe to one of {', '.join(_TIMEFRAMES)}, and have 4h and 1d built from 1h."
        )
    return _TIMEFRAMES[universe.timeframe]


def _check_keys(key: SecretStr | None, secret: SecretStr | None) -> None:
    given = {name: each for name, each in zip(KEY_NAMES, (key, secret), strict=True) if each}
    if len(given) == 1:
        missing = next(name for name in KEY_NAMES if name not in given)
        raise ConfigurationError(f"{next(iter(given))} is set and {missing} is not; set both, or neither.")
    for name, each in given.items():
        if not re.fullmatch(r"[!-~]+", each.get_secret_value()):  # else the HTTP library quotes it in its error
            raise ConfigurationError(f"{name} holds a blank, a line break or a letter no key has; copy it again.")


def _checked_url(url: str) -> str:
    """The url without a slash at its end. A wrong one is not repeated: it may hold a password."""
    host = r"https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?|https://(" + "|".join(map(re.escape, HOSTS)) + ")"
    if not re.fullmatch(host, url.removesuffix("/")):
        raise ConfigurationError(
            f"the url for alpaca's bars is not one of its data hosts; write https://{' or https://'.join(HOSTS)}, "
            "or a loopback address such as http://127.0.0.1:8080, and no path."
        )
    return url.removesuffix("/")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
