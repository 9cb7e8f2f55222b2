"""`cappuccino ui`: Dagster and MLflow side by side, on the loopback address, started and stopped together."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cappuccino_ml.core import ConfigurationError, write_bytes
from cappuccino_pipeline.configuration import REPOSITORY, Configuration
from cappuccino_pipeline.dagster_home import bury_dead_runs, open_instance
from cappuccino_pipeline.resources import Cappuccino

HOST = "127.0.0.1"  # neither page has a login
_OWN_ADDRESS = {"0.0.0.0": HOST, "::": "::1"}  # of a server that listens on every one
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class _Server:
    name: str
    url: str
    answers_at: str
    log: Path
    process: subprocess.Popen[bytes]


def serve(*, dagster_port: int, mlflow_port: int, host: str = HOST) -> None:
    """Start both servers, print their addresses once both answer, and stop both on Ctrl-C or TERM.

    Args:
        dagster_port: 0 takes any free one; `mlflow_port` too.
        mlflow_port: of MLflow's page.
        host: address both listen on; any but a loopback address is warned about.

    Raises:
        ConfigurationError: a port is taken, the host is not an address of this machine, another `ui` works on the
            same state, or a server did not come up.
    """
    configuration = Configuration.read()
    if warning := exposure_warning(host):
        print(warning, file=sys.stderr, flush=True)
    passing = mlflow_port == 0
    dagster_port = _free_port(dagster_port, host=host, option="--dagster-port")
    mlflow_port = _free_port(mlflow_port, host=host, option="--mlflow-port")
    lock = FileLock(configuration.dagster_home.with_name(".ui.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigurationError(
            f"another `cappuccino ui` already works on {configuration.state}; stop it or choose another folder."
        ) from error
    # Setting a handler also undoes an inherited "ignore": started by `... &` in a script, nothing would see Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    servers: list[_Server] = []
    try:
        # A source that cannot be read is an error here, and not a traceback in a log file.
        covered = Cappuccino(configuration).coverage_text
        with open_instance(configuration.dagster_home) as instance:
            bury_dead_runs(instance)
        print(
            f"{configuration.source} bars, {covered}; starting Dagster and MLflow ...",
            flush=True,
        )
        write_bytes(configuration.mlflow_address_file, _url(host, mlflow_port).encode())  # for links to it
        servers += [_start_mlflow(configuration, host=host, port=mlflow_port)]
        servers += [_start_dagster(configuration, host=host, port=dagster_port)]
        _wait_until_all_answer(servers)
        for server in servers:
            print(f"{server.name:8} {server.url}", flush=True)
        print("Ctrl-C stops both.", flush=True)
        _watch(servers)
    except KeyboardInterrupt:
        print("stopping ...", flush=True)
    finally:
        _stop_all(servers)
        if passing:  # this port will not come again, so later links are better off with the default
            configuration.mlflow_address_file.unlink(missing_ok=True)
        lock.release()


def exposure_warning(host: str) -> str | None:
    """What opening the pages means; None for a loopback address.

    Raises:
        ConfigurationError: it is not an IP address.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigurationError(f"--host is {host!r}; it must be an IP address such as 127.0.0.1.") from error
    if address.is_loopback:
        return None
    return (
        f"WARNING: listening on {host}, where others can reach it. Neither page has a login: whoever reaches the ports "
        "can start runs, read all data and move the aliases that decide what trades. See docs/keeping.md."
    )


def _free_port(port: int, *, host: str, option: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be used ({error.strerror}); stop what uses it, "
                f"choose another with {option}, or another --host."
            ) from error
        return int(probe.getsockname()[1])


def _start_dagster(configuration: Configuration, *, host: str, port: int) -> _Server:
    command = ["dagster", "dev", "-w", str(REPOSITORY / "workspace.yaml"), "-h", host, "-p", str(port)]
    url = _url(host, port)
    log = configuration.dagster_home / "dagster-dev.log"
    # The servers run in the repository's folder, so relative folders of the caller are passed on as absolute ones.
    environment = {"CAPPUCCINO_STATE": str(configuration.state)}
    if configuration.files_folder is not None:
        environment["CAPPUCCINO_FILES_DIR"] = str(configuration.files_folder)
    return _start("Dagster", command, url=url, answers_at=f"{url}/server_info", log=log, environment=environment)


def _start_mlflow(configuration: Configuration, *, host: str, port: int) -> _Server:
    root = configuration.mlflow_root
    root.mkdir(exist_ok=True)
    command = ["mlflow", "server", "--backend-store-uri", configuration.mlflow_uri, "--default-artifact-root"]
    command += [(root / "artifacts").as_uri(), "--host", host, "--port", str(port), "--workers", "1"]
    url = _url(host, port)
    if exposure_warning(host):
        command += ["--allowed-hosts", "*"]  # else MLflow refuses requests that name another host than localhost
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # unused here, and costs 0.5 GB and 15 s
        "MLFLOW_ENABLE_AI_GATEWAY": "false",  # unused here, and would keep keys of language models
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    log = root / "server.log"
    return _start("MLflow", command, url=url, answers_at=f"{url}/health", log=log, environment=environment)


def _url(host: str, port: int) -> str:
    """Where it answers on this machine; every address is this one too."""
    host = _OWN_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _start(
    name: str, command: list[str], *, url: str, answers_at: str, log: Path, environment: dict[str, str]
) -> _Server:
    program = Path(sys.executable).with_name(command[0])
    with log.open("wb") as output:
        # A session of its own: Ctrl-C then reaches only us, and we stop the children in order.
        process = subprocess.Popen(
            [str(program), *command[1:]],
            cwd=REPOSITORY,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Server(name=name, url=url, answers_at=answers_at, log=log, process=process)


def _wait_until_all_answer(servers: list[_Server]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    for server in servers:
        while not _answers(server.answers_at):
            _require_alive(server)
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{server.name} did not answer within {START_TIMEOUT_S:.0f} s; see {server.log}."
                )
            time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _require_alive(server: _Server) -> None:
    if server.process.poll() is not None:
        raise ConfigurationError(
            f"{server.name} ended with code {server.process.returncode}; the reason is in {server.log}."
        )


def _watch(servers: list[_Server]) -> None:
    while True:
        for server in servers:
            _require_alive(server)
        time.sleep(1.0)


def _stop_all(servers: list[_Server]) -> None:
    """TERM to each group, then KILL to what is left after 20 s. A second Ctrl-C must not leave orphans."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for server in servers:
        _signal_group(server, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for server in servers:
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        _signal_group(server, signal.SIGKILL)
        server.process.wait()


def _signal_group(server: _Server, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # the whole group is gone already
        os.killpg(server.process.pid, number)
