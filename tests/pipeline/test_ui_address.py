"""Where the pages listen: on this machine unless a person opens them, and then not without a warning."""

import inspect
import signal
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer

from cappuccino_ml.core import ConfigurationError
from cappuccino_pipeline import ui
from cappuccino_pipeline.cli import app
from cappuccino_pipeline.configuration import Configuration

ROOT = Path(__file__).resolve().parents[2]


def test_the_defaults_are_the_loopback_address():
    options = {option.name: option.default for option in typer.main.get_command(app).commands["ui"].params}
    assert options["host"] == inspect.signature(ui.serve).parameters["host"].default == "127.0.0.1"
    assert ui.exposure_warning(options["host"]) is None
    assert ui.exposure_warning("::1") is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1"])
def test_any_other_address_is_warned_about(host: str):
    warning = ui.exposure_warning(host)
    assert warning is not None
    assert "login" in warning


def test_a_name_is_refused_because_it_may_resolve_to_anything():
    with pytest.raises(ConfigurationError, match="IP address"):
        ui.exposure_warning("localhost.example")


def test_a_port_that_is_taken_is_said_with_a_way_out():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match="--dagster-port"):
            ui._free_port(other.getsockname()[1], host="127.0.0.1", option="--dagster-port")


def test_no_other_file_names_the_address_of_every_interface():
    sources = [*(ROOT / "cappuccino_ml").rglob("*.py"), *(ROOT / "cappuccino_pipeline").rglob("*.py")]
    assert [path.name for path in sources if '"0.0.0.0"' in path.read_text()] == ["ui.py"]


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:7"), ("0.0.0.0", "http://127.0.0.1:7"), ("::1", "http://[::1]:7")],
)
def test_the_printed_address_is_one_that_answers_here(host: str, url: str):
    assert ui._url(host, 7) == url


@pytest.mark.parametrize("asked", [0, None])
def test_the_address_of_a_port_that_any_free_one_was_is_forgotten_at_the_end(
    asked: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("CAPPUCCINO_STATE", str(tmp_path))
    seen = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(configuration: Configuration, *, host: str, port: int) -> None:
        seen.append((configuration.mlflow_address_file, configuration.mlflow_address_file.read_text(), port))
        raise KeyboardInterrupt

    monkeypatch.setattr(ui, "_start_mlflow", stop)
    monkeypatch.setattr(ui, "open_instance", lambda _: nullcontext())  # making its databases takes seconds
    monkeypatch.setattr(ui, "bury_dead_runs", lambda _: None)
    ui.serve(dagster_port=0, mlflow_port=ui._free_port(0, host=ui.HOST, option="") if asked is None else asked)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    ((address, said, port),) = seen
    assert said == f"http://127.0.0.1:{port}"
    assert address.is_file() is (asked is None)
