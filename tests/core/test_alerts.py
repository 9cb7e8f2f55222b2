"""Alerts: each target gets them, none holds up or stops who tells, and the webhook's address stays a secret."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cappuccino_ml.core import Alert, AllAlerts, ConfigurationError, FileAlerts, LogAlerts, WebhookAlerts

ALERT = Alert(when=datetime(2026, 1, 5, tzinfo=UTC), source="trader", reason="halted: a drill", about={"run_id": "7"})
CANARY = "canary-token-0123456789"


class Hook(ThreadingHTTPServer):
    """Answers with the given statuses in turn, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.wait = threading.Event()
        self.wait.set()

    @property
    def url(self) -> SecretStr:
        return SecretStr(f"http://127.0.0.1:{self.server_port}/{CANARY}")


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.wait.wait(10)
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Location", "https://elsewhere.example/")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.wait.set()
    server.shutdown()
    server.server_close()


def test_every_target_is_told(tmp_path: Path, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    alerts = AllAlerts([LogAlerts(), FileAlerts(tmp_path / "a" / "alerts.jsonl"), WebhookAlerts(hook.url)])
    alerts.send(ALERT)
    alerts.send(ALERT)
    alerts.close()
    lines = [json.loads(line) for line in (tmp_path / "a" / "alerts.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["halted: a drill"] * 2
    assert lines[0] == {"when": "2026-01-05T00:00:00+00:00", "source": "trader", "run_id": "7", "reason": ALERT.reason}
    assert [body["text"] for body in hook.bodies] == ["cappuccino trader: halted: a drill"] * 2
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("statuses", "tries"), [([500, 429], 3), ([500] * 9, 3), ([302], 2), ([], 1)])
def test_a_webhook_is_tried_three_times_and_no_redirect_is_followed(
    hook: Hook, statuses: list[int], tries: int
) -> None:
    hook.statuses = statuses
    webhook = WebhookAlerts(hook.url, first_wait_s=0.01)
    webhook.send(ALERT)
    webhook.close()
    assert len(hook.bodies) == tries


def test_p9_p11_a_webhook_that_is_down_or_hangs_holds_nobody_up_and_its_address_is_in_no_log(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="cappuccino.alerts")
    gone = WebhookAlerts(SecretStr(f"http://127.0.0.1:9/{CANARY}"), timeout_s=0.2, first_wait_s=0.01)
    hook.wait.clear()
    hanging = WebhookAlerts(hook.url, timeout_s=0.2, first_wait_s=0.01)
    alerts = AllAlerts([gone, hanging])
    for _ in range(250):  # more than may wait
        alerts.send(ALERT)
    alerts.close()
    said = [record.getMessage() for record in caplog.records if record.name == "cappuccino.alerts"]
    assert any("did not take an alert: ConnectionError" in line for line in said)
    assert any("too slow" in line for line in said)
    assert CANARY not in "\n".join(said)


def test_a_disk_that_refuses_is_said_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    FileAlerts(tmp_path / "file" / "alerts.jsonl").send(ALERT)
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://127.0.0.1/x", "canary", "https:///x"])
def test_p9_an_address_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        WebhookAlerts(SecretStr(url))
    assert url not in str(caught.value)
