"""One port for what a person should hear of: the log, a file, a webhook. Telling never holds up or stops who tells."""

import json
import logging
import queue
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import tenacity
from pydantic import Field, SecretStr

from cappuccino_ml.core.errors import ConfigurationError
from cappuccino_ml.core.settings import Settings

_LOG = logging.getLogger("cappuccino.alerts")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_MOST_WAITING = 100


class Alert(Settings):
    """One sentence for a person, who says it, and what it is about."""

    when: datetime
    source: str = Field(description="trader, run, ...")
    reason: str
    about: dict[str, str] = Field(default_factory=dict, description="such as run_id, job, model_version")

    def line(self) -> str:
        """One JSON object."""
        return json.dumps(
            {
                "when": self.when.isoformat(timespec="seconds"),
                "source": self.source,
                **self.about,
                "reason": self.reason,
            }
        )


class Alerts(Protocol):
    """Where alerts go."""

    def send(self, alert: Alert) -> None:
        """Pass `alert` on. Returns at once and raises nothing."""
        ...

    def close(self) -> None:
        """Pass on what is still waiting, in bounded time."""
        ...


class LogAlerts:
    """The process's log."""

    def send(self, alert: Alert) -> None:
        """One warning."""
        _LOG.warning("%s: %s", alert.source, alert.reason)

    def close(self) -> None:
        """Nothing waits."""


class FileAlerts:
    """One JSON line per alert, appended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, alert: Alert) -> None:
        """Append; a disk that refuses is said in the log."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(alert.line() + "\n")
        except OSError as error:
            _LOG.error("an alert cannot be written to %s (%s)", self._path, error.strerror)

    def close(self) -> None:
        """Nothing waits."""


class WebhookAlerts:
    """POSTs `{"text": ...}`, which Slack, Mattermost and most relays take, from a thread of its own.

    The address is a secret: it comes from the environment and appears in no message of ours.

    Args:
        url: https, or http on the loopback address.
        timeout_s: silence after which one try is given up; there are three.
        first_wait_s: before the second try; doubled before the third.

    Raises:
        ConfigurationError: another kind of address.
    """

    def __init__(self, url: SecretStr, *, timeout_s: float = 5.0, first_wait_s: float = 1.0) -> None:
        parts = urlsplit(url.get_secret_value())
        if not parts.hostname or (
            parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        ):
            raise ConfigurationError("the webhook's address must begin with https:// and name a host; copy it again.")
        self._url, self._timeout_s, self._first_wait_s = url, timeout_s, first_wait_s
        self._waiting: queue.Queue[Alert | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def send(self, alert: Alert) -> None:
        """Let the thread send it; when 100 wait already, it is dropped and the log says so."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(alert)
        except queue.Full:
            _LOG.error("the webhook is too slow: an alert was not sent")

    def close(self) -> None:
        """Wait for what is on its way, at most six time-outs long."""
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=3 * self._timeout_s)
            except queue.Full:
                return
            self._thread.join(3 * self._timeout_s)
            self._thread = None

    def _work(self) -> None:
        while (alert := self._waiting.get()) is not None:
            try:
                tenacity.Retrying(
                    retry=tenacity.retry_if_result(bool),
                    stop=tenacity.stop_after_attempt(3),
                    wait=tenacity.wait_exponential(multiplier=self._first_wait_s),
                )(self._post, alert)
            except tenacity.RetryError as error:
                _LOG.error("the webhook did not take an alert: %s", error.last_attempt.result())

    def _post(self, alert: Alert) -> str:
        """What went wrong, "" if nothing; an error of the HTTP library names the address, so it is not passed on."""
        import requests  # noqa: PLC0415 - only who has a webhook pays for it

        body = {"text": f"cappuccino {alert.source}: {alert.reason}", **alert.about}
        try:
            answer = requests.post(
                self._url.get_secret_value(), json=body, timeout=self._timeout_s, allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:
            return type(error).__name__
        return "" if answer.status_code < 300 else f"HTTP {answer.status_code}"


class AllAlerts:
    """Every one of several."""

    def __init__(self, targets: Sequence[Alerts]) -> None:
        self._targets = targets

    def send(self, alert: Alert) -> None:
        """To each in turn."""
        for target in self._targets:
            target.send(alert)

    def close(self) -> None:
        """Each in turn."""
        for target in self._targets:
            target.close()
