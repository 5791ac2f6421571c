"""MLflow's own pages over the store that runs are recorded in."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from nnray.errors import TrackingError
from nnray.tracking.client import ENVIRONMENT
from nnray.tracking.store import check, sqlite_file

_STOP_S = 5.0
_PORTS_TRIED = 100


def serve(uri: str | None = None, *, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Show the store until Ctrl-C, with one light server process and no job runners.

    Args:
        uri: Of the store; where left out, ``$MLFLOW_TRACKING_URI``, else that of the working folder.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        TrackingError: The port is taken, the store can't be used, or it has pages of its own.
    """
    store = check(uri)
    if store.problem:
        raise TrackingError(store.problem)
    resolved = store.uri
    _check_shown_here(resolved)
    check_port(host, port)
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    environment = {**os.environ, **ENVIRONMENT, **own}
    print(f"MLflow's UI over {resolved}", flush=True)
    print(f"opens in a moment at http://{host}:{port} (Ctrl-C ends it)", flush=True)
    process = subprocess.Popen(
        command(resolved, host=host, port=port), env=environment, start_new_session=True
    )
    with _stop_signals_interrupt():
        try:
            status = process.wait()
        except KeyboardInterrupt:
            return
        finally:
            _end(process)
    if status:
        raise TrackingError(f"MLflow's server ended with status {status}; what it printed says why")


def command(uri: str, *, host: str, port: int) -> list[str]:
    """The command that serves a store."""
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    return [*server, "--host", host, "--port", str(port), "--uvicorn-opts", "--log-level warning"]


def check_port(host: str, port: int) -> None:
    """See that a port can be listened on.

    Raises:
        TrackingError: It can't; the message names one that can.
    """
    problem = _port_problem(host, port)
    if problem is None:
        return
    following = range(port + 1, min(port + 1 + _PORTS_TRIED, 65_536))
    free = next((other for other in following if _port_problem(host, other) is None), None)
    advice = f"; free: {free}, with --port {free}" if free else ""
    raise TrackingError(f"port {port} on {host} can't be used: {problem}{advice}")


def _port_problem(host: str, port: int) -> str | None:
    if not 0 < port < 65_536:
        return "allowed: 1 to 65535"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def _check_shown_here(uri: str) -> None:
    file = sqlite_file(uri)
    if uri.startswith(("http:", "https:")):
        raise TrackingError(f"the store is a server with pages of its own: open {uri} in a browser")
    if file is not None and not file.exists():
        raise TrackingError(
            f"nothing is recorded in {file} yet; run nnray train or nnray sweep in this folder first, "
            "or name another store with --uri"
        )


@contextlib.contextmanager
def _stop_signals_interrupt() -> Iterator[None]:
    """Have a closed terminal or a polite kill end the server too, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with all that it started; its session is its own, so nothing else is in the group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
