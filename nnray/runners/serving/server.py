"""An application behind a port: bound before the model is announced, ended without losing a request."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from nnray.errors import ConfigError, Problem
from nnray.runners.serving.app import Application

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 2048
_PORTS_TRIED = 100


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; they are answered once the server runs.

    Args:
        host: Address to listen on.
        port: 0 for any that is free.

    Raises:
        ConfigError: It can't be had; the message names one that can.
    """
    try:
        return _bound(host, port)
    except (OSError, OverflowError) as error:
        free = _free(host, port)
        advice = f"; free: {free}, with --port {free}" if free else ""
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            "serve", [Problem("port", f"{port} on {host} can't be used: {why}{advice}")]
        ) from error


def make_server(app: Application, *, grace_s: int = 30) -> uvicorn.Server:
    """A server for one application.

    Args:
        app: What answers.
        grace_s: How long requests may go on once it is to end.
    """
    import uvicorn

    # By name, so that what else is installed doesn't choose another parser or event loop.
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
    )
    return uvicorn.Server(config)


def run(app: Application, listener: socket.socket, *, grace_s: int = 30) -> None:
    """Answer until Ctrl-C or SIGTERM; requests that have come by then are answered still."""
    with contextlib.closing(listener), contextlib.suppress(KeyboardInterrupt):
        make_server(app, grace_s=grace_s).run(sockets=[listener])


def address(listener: socket.socket) -> str:
    """Where it can be reached, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _free(host: str, port: int) -> int | None:
    """The next port that can be had, if any."""
    for other in range(port + 1, min(port + 1 + _PORTS_TRIED, 65_536)):
        with contextlib.suppress(OSError):
            _bound(host, other).close()
            return other
    return None
