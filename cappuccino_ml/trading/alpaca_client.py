"""One bounded request to Alpaca's paper account through alpaca-py, and what its answer proves."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

from cappuccino_ml.bars.retries import retry_after_s, server_time
from cappuccino_ml.core import Clock, ConfigurationError
from cappuccino_ml.trading.broker import AccessRefusedError, BrokerBusyError, BrokerSilentError
from cappuccino_ml.trading.hosts import require_data_host, require_paper_host

if TYPE_CHECKING:  # the SDK is imported when an account is opened: it takes half a second
    from alpaca.trading.client import TradingClient
    from requests import PreparedRequest, Response

_CONNECT_S = 3.0
_LONGEST_RESET_S = 120.0  # the count begins anew every minute
# Code 40310000 means a dozen things, so words decide: these are about us, all others about the order.
_ABOUT_US = re.compile(r"forbidden|not authori[sz]ed|unauthori[sz]ed|authentication|invalid (api )?key", re.IGNORECASE)

Method = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True)
class Answer:
    """An answer that can be read: 2xx, or a refusal of what was asked (400, 403, 404, 422)."""

    status: int
    body: Any  # JSON
    said: str  # a refusal's own words, without keys
    code: int | None
    time: datetime | None  # the server's


class AlpacaClient:
    """Asks once: alpaca-py by itself sends an order four times on 429 and 504, and waits for ever for an answer.

    Args:
        key: API key id of the paper account.
        secret: API secret key.
        clock: the present moment, for the reset of the rate limit.
        timeout_s: silence after which a request is given up.
        url: the paper host, or a loopback address.
        data_url: the host of quotes, or a loopback address.

    Raises:
        TradingError: any other host.
        ConfigurationError: a key that no header can carry.
    """

    def __init__(
        self,
        *,
        key: SecretStr,
        secret: SecretStr,
        clock: Clock,
        timeout_s: float,
        url: str,
        data_url: str,
    ) -> None:
        for each in (key, secret):
            if not re.fullmatch(r"[!-~]+", each.get_secret_value()):  # else the HTTP library quotes it in its error
                raise ConfigurationError("an Alpaca key holds a blank or a letter no key has; copy it again.")
        self._url = require_paper_host(url.removesuffix("/"))
        self._data_url = require_data_host(data_url.removesuffix("/"))
        self._secrets = (key, secret)
        self._clock = clock
        self._timeout_s = timeout_s
        self._answer: Response | None = None  # the last one, whatever its status
        self.remaining: int | None = None  # requests that are left until `reset`
        self.reset: datetime | None = None
        self._client = self._open()

    def ask(self, method: Method, path: str, data: dict[str, Any] | None = None, *, quotes: bool = False) -> Answer:
        """Send one request.

        Args:
            method: the verb.
            path: behind /v2, or behind /v1beta3 of the data host for `quotes`.
            data: query of a GET, JSON of a POST.
            quotes: ask the data host.

        Raises:
            BrokerSilentError: nothing, or nothing that can be read, came back: what was asked may have happened.
            BrokerBusyError: 429: it has not happened.
            AccessRefusedError: the keys are refused: it has not happened.
        """
        from requests import RequestException, Timeout  # noqa: PLC0415

        self._answer = None
        body, wrong = None, ""
        try:
            if quotes:
                body = self._client.get(path, data, base_url=self._data_url, api_version="v1beta3")
            else:
                body = self._client._request(method, path, data)
        except Timeout:
            wrong = f"no answer within {self._timeout_s:g} s"
        except RequestException as error:
            wrong = "a body that is not JSON" if isinstance(error, ValueError) else "a connection refused or cut"
        except (ValueError, RecursionError):
            wrong = "a body that is not JSON"
        except Exception as error:  # the SDK wraps an HTTP error in its own type, judged below by its status
            wrong = type(error).__name__
        # Judged after the handlers: the SDK's errors hold the request, keys included, and must not hang on ours.
        what = f"alpaca, asked to {method} {path.split('?', maxsplit=1)[0]}, gave"
        answer = self._answer
        if answer is None:
            raise BrokerSilentError(f"{what} {wrong}; it may or may not have happened.")
        self._count(answer.headers)
        if answer.status_code in (200, 201, 204) and not wrong:
            if body is None and answer.status_code != 204:
                raise BrokerSilentError(f"{what} an empty answer; it may or may not have happened.")
            return Answer(answer.status_code, body, "", None, server_time(answer.headers))
        return self._refusal(answer, what, wrong)

    def close(self) -> None:
        """Close the connection."""
        self._client._session.close()

    def _open(self) -> "TradingClient":
        from alpaca.trading.client import TradingClient  # noqa: PLC0415
        from requests.adapters import HTTPAdapter  # noqa: PLC0415

        outer = self

        class Bounded(HTTPAdapter):
            """Gives up on silence and remembers the answer: the SDK has no timeout and shows a body only."""

            def send(self, request: "PreparedRequest", *args: Any, **options: Any) -> "Response":
                options["timeout"] = (min(_CONNECT_S, outer._timeout_s), outer._timeout_s)
                outer._answer = super().send(request, *args, **options)
                return outer._answer

        key, secret = (each.get_secret_value() for each in self._secrets)
        client = TradingClient(api_key=key, secret_key=secret, paper=True, raw_data=True, url_override=self._url)
        client._retry = 0  # the constructor cannot say so
        client._session.mount("https://", Bounded())
        client._session.mount("http://", Bounded())
        return client

    def _refusal(self, answer: "Response", what: str, wrong: str) -> Answer:
        status = answer.status_code
        said, code = self._words(answer)
        if status == 429:
            raise BrokerBusyError(f"{what} HTTP 429, too many requests.", retry_after_s=self._wait_s(answer.headers))
        if status == 401 or (status == 403 and (code is None or _ABOUT_US.search(said))):
            raise AccessRefusedError(
                f"alpaca refuses the keys (HTTP {status}{': ' + said if said else ''}); set APCA_API_KEY_ID and "
                "APCA_API_SECRET_KEY to the paper account's pair."
            )
        if status in (400, 403, 404, 422):
            return Answer(status, None, said or f"HTTP {status}", code, server_time(answer.headers))
        seen = wrong if status == 200 and wrong else f"HTTP {status}"
        raise BrokerSilentError(f"{what} {seen}; it may or may not have happened.")

    def _words(self, answer: "Response") -> tuple[str, int | None]:
        """What a refusal says, cut short and without the keys, should it repeat them; and its code."""
        try:
            body = json.loads(answer.content)
            said, code = str(body["message"]), body.get("code")
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError):  # OSError: it was cut
            return "", None
        for each in self._secrets:
            said = said.replace(each.get_secret_value(), "***")
        return " ".join(said.split())[:160], code if isinstance(code, int) else None

    def _count(self, headers: Mapping[str, str]) -> None:
        remaining, reset = headers.get("X-RateLimit-Remaining", ""), headers.get("X-RateLimit-Reset", "")
        if re.fullmatch("[0-9]{1,9}", remaining) and re.fullmatch("[0-9]{1,11}", reset):
            self.remaining = int(remaining)
            self.reset = datetime.fromtimestamp(int(reset), tz=self._clock.now().tzinfo)

    def _wait_s(self, headers: Mapping[str, str]) -> float:
        asked = retry_after_s(headers, self._clock.now())
        if asked is None:
            asked = (self.reset - self._clock.now()).total_seconds() if self.reset is not None else 1.0
        return min(max(asked, 1.0), _LONGEST_RESET_S)
