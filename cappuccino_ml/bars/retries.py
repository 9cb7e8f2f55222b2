"""When to ask a venue again: only where asking again can help, at a fixed schedule, within one deadline."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import tenacity
from pydantic import Field

from cappuccino_ml.core import Settings, SourceError

Answer = TypeVar("Answer")
# Answers that another try cannot change, and what to do about them.
_FINAL = {
    400: "it does not accept the request; check the symbol, the timeframe and the range",
    401: "it wants other keys; check the API keys in the environment",
    403: "it refuses this address or these keys (a firewall, a country block or a missing permission); "
    "use another venue or check the keys",
    404: "it has no such address or symbol; check the url and the symbol",
    410: "it no longer serves this address; check the url",
    422: "it does not accept the request; check the symbol, the timeframe and the range",
    451: "it does not serve the country this machine is in; use one that does, such as kraken or coinbase, or files",
}
_WITH_RETRY = (408, 418, 425, 429)  # 418 is what binance says to those who went on after 429


class Transient(Exception):  # noqa: N818 - not an error yet: it becomes one when the tries are used up
    """An answer that another try may change: too many requests, a fault of the server, a cut, silence, garbage.

    Args:
        reason: what was seen, as half a sentence, such as `HTTP 503`.
        retry_after_s: how long the venue asked to wait.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class RetrySettings(Settings):
    """How often, how long apart and how long in total one request is tried. The waits have no randomness."""

    tries: int = Field(6, ge=1, description="requests made for one answer, the first included")
    first_wait_s: float = Field(1.0, ge=0, description="before the second try; doubled before each later one")
    longest_wait_s: float = Field(30.0, ge=0, description="no wait of ours is longer; a venue's Retry-After may be")
    deadline_s: float = Field(180.0, gt=0, description="no try begins later than this after the first")
    timeout_s: float = Field(10.0, gt=0, description="silence after which one try is given up")
    answer_s: float = Field(60.0, gt=0, description="time within which an answer must be there whole")

    @property
    def no_answer(self) -> str:
        """Half a sentence for a try that ran into one of the two bounds."""
        return f"silence for {self.timeout_s:g} s, or no whole answer within {self.answer_s:g} s"


def ask_patiently(
    ask: Callable[[], Answer], *, what: str, retry: RetrySettings, sleep: Callable[[float], None]
) -> Answer:
    """The answer of `ask`, asked again after each `Transient` as `retry` allows; other errors pass at once.

    Args:
        ask: makes one request.
        what: for the message, such as `kraken, asked for bars of BTC-USD`.
        retry: tries, waits and deadline.
        sleep: waits that many seconds.

    Raises:
        SourceError: the tries or the time are used up.
    """
    own_wait = tenacity.wait_exponential(multiplier=retry.first_wait_s, max=retry.longest_wait_s)

    def wait(state: tenacity.RetryCallState) -> float:
        return max(float(own_wait(state)), _transient(state).retry_after_s or 0.0)

    def stop(state: tenacity.RetryCallState) -> bool:
        # Waits count even where `sleep` does not sleep, so that the deadline is the same in tests.
        spent = max(state.seconds_since_start or 0.0, state.idle_for)
        return state.attempt_number >= retry.tries or spent + state.upcoming_sleep > retry.deadline_s

    def give_up(state: tenacity.RetryCallState) -> Answer:
        last = _transient(state)
        asked = f", and it asks to wait {last.retry_after_s:.0f} s" if last.retry_after_s else ""
        tries = f"{state.attempt_number} {'try' if state.attempt_number == 1 else 'tries'}"
        raise SourceError(
            f"{what} gave no usable answer in {tries} within {retry.deadline_s:.0f} s (last: {last.reason}{asked}); "
            "run it again later, what is stored stays as it is."
        ) from last

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        wait=wait,
        stop=stop,
        sleep=sleep,
        retry_error_callback=give_up,
    )
    return retrying(ask)


def judge_status(
    status: int, *, what: str, headers: Mapping[str, str], now: datetime, said: str = ""
) -> Transient | SourceError:
    """What an HTTP status other than 2xx means: `Transient` where another try may help, else the final error.

    Args:
        status: the HTTP status.
        what: for the message, such as `kraken, asked for bars of BTC-USD`.
        headers: of the answer, in any case.
        now: the present moment, for a Retry-After that names a time.
        said: the venue's own words, if any.
    """
    words = f" {_short(said)}" if said.strip() else ""
    if status in _WITH_RETRY or status >= 500:
        return Transient(f"HTTP {status}{words}", retry_after_s=retry_after_s(headers, now))
    meaning = _FINAL.get(status, "this is not an answer to the request; check the url")
    return SourceError(f"{what} answered HTTP {status}{words}: {meaning}.")


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """The Date header, UTC, when there is one that can be read."""
    return _http_date(_header(headers, "date"))


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The Retry-After header, which names seconds or a time; `now` is the present moment."""
    text = _header(headers, "retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        moment = _http_date(text)
        return None if moment is None else max(0.0, (moment - now).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _transient(state: tenacity.RetryCallState) -> Transient:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, Transient)
    return error


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
        return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _short(said: str) -> str:
    line = " ".join(said.split())
    return f"({line[:120]}...)" if len(line) > 120 else f"({line})"
