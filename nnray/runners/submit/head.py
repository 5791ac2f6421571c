"""The head of a Ray cluster, as its job server shows it over HTTP.

Spoken to directly rather than through Ray's client: that one lets ``RAY_ADDRESS`` override the address that
was given, waits for ever, and takes seconds to import.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from nnray.errors import ClusterError

DEFAULT = "http://127.0.0.1:8265"
_TIMEOUT = aiohttp.ClientTimeout(total=300.0, sock_connect=5.0, sock_read=120.0)
_TOKEN_ADVICE = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the cluster's token; "
    "`ray get-auth-token` on the head prints it"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The address of a job server, and what it lets us in with.

    Args:
        url: Scheme, host and port.
        token: Never shown.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def find(cls, address: str | None = None, *, environment: Mapping[str, str] | None = None) -> Head:
        """The head at an address, with the token of this user.

        Args:
            address: Else ``$RAY_API_SERVER_ADDRESS``, else ``$RAY_ADDRESS`` where that is a URL, else this
                machine's.
            environment: Else this process's.

        Raises:
            ClusterError: That is no address of a job server, or the token can't be read.
        """
        given = os.environ if environment is None else environment
        return cls(read_address(address or _known(given)), read_token(given))

    def ask(self, method: str, path: str, *, json: Any = None, data: bytes | None = None) -> Any:
        """Send a request.

        Returns:
            What the answer holds; None if there is no such thing.

        Raises:
            ClusterError: Nobody answers there, or not with what was asked for.
        """
        return run(self._ask(method, path, json, data))

    def follow(self, path: str, write: Callable[[str], object]) -> bool:
        """Have whatever is sent over a web socket written, until it is closed.

        Returns:
            Whether it was closed in order; it may also have been cut off.

        Raises:
            ClusterError: Nobody answers there, or lets us in.
        """
        return run(self._follow(path, write))

    async def _ask(self, method: str, path: str, json: Any, data: bytes | None) -> Any:
        try:
            async with (
                self._session() as session,
                session.request(method, self.url + path, json=json, data=data and BytesIO(data)) as answer,
            ):
                if answer.status == 200:
                    is_json = "json" in answer.headers.get("Content-Type", "")
                    return await answer.json() if is_json else await answer.text()
                if answer.status == 404:
                    return None
                raise self._refused(answer.status, await answer.text())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._away(error) from error

    async def _follow(self, path: str, write: Callable[[str], object]) -> bool:
        try:
            async with self._session() as session, session.ws_connect(self.url + path, heartbeat=20.0) as ws:
                async for message in ws:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        write(message.data)
                return ws.close_code in (None, aiohttp.WSCloseCode.OK)
        except aiohttp.WSServerHandshakeError as error:
            raise self._refused(error.status, error.message) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._away(error) from error

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT, trust_env=True)

    def _refused(self, status: int, text: str) -> ClusterError:
        if status == 401:
            return ClusterError(f"the head at {self.url} asks for a token: {_TOKEN_ADVICE}")
        if status == 403:
            return ClusterError(f"the head at {self.url} refuses this token: {_TOKEN_ADVICE}")
        lines = text.strip().splitlines() or ["nothing more"]
        return ClusterError(f"the head at {self.url} answers {status}: {lines[-1][:500]}")

    def _away(self, error: BaseException) -> ClusterError:
        return ClusterError(
            f"can't reach the head at {self.url}: {_reason(error)}: see that the cluster is up, and that "
            "this is the address of its dashboard, such as http://HEAD:8265"
        )


def read_address(address: str) -> str:
    """The URL of a job server, as it is called.

    Raises:
        ClusterError: It is something else, such as ``ray://``.
    """
    text = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(text)
        is_right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.username or parts.password:
        shown = re.sub(r"//[^/@]*@", "//***@", address)
        raise ClusterError(
            f"{shown!r} is not the address of a job server: give that of the head's dashboard, such as "
            "http://HEAD:8265 or https://HEAD, without a user or password"
        )
    return text.rstrip("/")


def read_token(environment: Mapping[str, str]) -> str | None:
    """The token to show to a head, found where Ray looks for it; None where none is wanted.

    Raises:
        ClusterError: One is wanted, and can't be read.
    """
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    given, path = environment.get("RAY_AUTH_TOKEN"), environment.get("RAY_AUTH_TOKEN_PATH")
    if mode == "disabled" or not (mode == "token" or given or path):
        return None
    file = Path(path).expanduser() if path else Path.home() / ".ray" / "auth_token"
    try:
        token = (given or file.read_text()).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ClusterError(f"no token: {file}: {why}: {_TOKEN_ADVICE}") from None
    if not token or not token.isprintable():
        raise ClusterError(f"no token: {'RAY_AUTH_TOKEN' if given else file} holds none: {_TOKEN_ADVICE}")
    return token


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; in a thread of its own where this one has a loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    ended: list[T | BaseException] = []

    def attempt() -> None:
        try:
            ended.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 (raised where it was asked for)
            ended.append(error)

    thread = threading.Thread(target=attempt, name="nnray-head", daemon=True)
    thread.start()
    thread.join()
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


def _known(environment: Mapping[str, str]) -> str:
    ray = environment.get("RAY_ADDRESS", "")
    return environment.get("RAY_API_SERVER_ADDRESS") or (ray if ray.startswith("http") else DEFAULT)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "unknown host"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return os.strerror(number) if number > 0 else str(error.os_error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
