"""What every test gets: an empty state folder, one thread, repeatable examples, and no way out of the machine."""

import atexit
import os
import shutil
import socket
import tempfile
from typing import Any

import hypothesis
import pytest

for _name in [name for name in os.environ if name.startswith(("CAPPUCCINO_", "DAGSTER_", "MLFLOW_"))]:
    del os.environ[_name]
_STATE = tempfile.mkdtemp(prefix="cappuccino-tests-")
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)
# Set before any project module is imported: the definitions read the environment when they are loaded.
os.environ["CAPPUCCINO_STATE"] = _STATE
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MPLBACKEND"] = "Agg"

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

_connect = socket.socket.connect


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that tries to leave this machine fails instead of depending on the weather."""

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to connect to {address}; tests use loopback servers and fakes")
        _connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
