"""A model as an ASGI application that speaks MLflow's scoring protocol.

An error is one sentence, ``{"error": ...}``. A body is read to its end before anything is refused, for a
client that is still sending would not see the answer.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from nnray.runners.serving.answer import answer
from nnray.runners.serving.engine import Engine
from nnray.runners.serving.payload import Output, as_output, read_payload
from nnray.runners.serving.refusal import Refusal, bad_request
from nnray.runners.serving.signature import Signature

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_log = logging.getLogger("nnray.serve")
_PATHS = {
    "/": ("GET",),
    "/ping": ("GET",),
    "/health": ("GET",),
    "/version": ("GET",),
    "/invocations": ("POST",),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take.

    Args:
        body_bytes: Of a body.
        read_s: Until a body has come.
        at_once: Requests whose bodies are in memory; others wait.
    """

    body_bytes: int = 16 * 2**20
    read_s: float = 30.0
    at_once: int = 64


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


class _Gone(Exception):
    """The client has hung up."""


class Application:
    """``/invocations``, ``/ping``, ``/health``, ``/version``; ``/`` says what the model is.

    Args:
        engine: Runs the model.
        signature: What the model takes.
        about: Facts about the model, for ``/``.
        limits: What a request may take.
        threshold: Of two classes: from which probability on the second is told; None for the likelier.
    """

    def __init__(
        self,
        engine: Engine,
        signature: Signature,
        *,
        about: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        threshold: float | None = None,
    ) -> None:
        self._engine, self._signature = engine, signature
        self._about, self._limits = dict(about or {}), limits or Limits()
        self._threshold = threshold
        self._room = asyncio.Semaphore(self._limits.at_once)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "the server has neither web sockets nor a lifespan"
        try:
            given = await self._answer(scope, receive)
        except _Gone:
            return
        except Refusal as refusal:
            given = _error(refusal.status, refusal.sentence)
        except Exception:  # noqa: BLE001 (whatever it is, the client gets an answer, and the log the rest)
            _log.exception("%s %s failed", scope["method"], scope["path"])
            given = _error(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
        await _send(send, given)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> _Answer:
        path, method = scope["path"], scope["method"].replace("HEAD", "GET")
        if path == "/invocations" and method == "POST":
            async with self._room:
                return await self._predict(scope, receive)
        await _read(receive, limits=self._limits)
        if path not in _PATHS:
            raise Refusal(HTTPStatus.NOT_FOUND, f"there is no {path[:200]!r}; there are {', '.join(_PATHS)}")
        if method not in _PATHS[path]:
            sentence = f"{path} takes {_PATHS[path][0]}, not {method[:20]}"
            refused = _error(HTTPStatus.METHOD_NOT_ALLOWED, sentence)
            return _Answer(refused.body, refused.status, (("allow", ", ".join(_PATHS[path])),))
        return _Answer(self._fact(path))

    def _fact(self, path: str) -> bytes:
        if path == "/version":
            return importlib.metadata.version("mlflow").encode()
        if path != "/":
            return b"\n"
        signature = self._signature
        facts: dict[str, Any] = {
            "shape": list(signature.shape),
            "classes": list(signature.classes),
            "missing": signature.missing,
        }
        if signature.columns:
            facts["columns"] = list(signature.columns)
        if self._threshold is not None:
            facts["threshold"] = self._threshold
        return json.dumps({**self._about, **facts}).encode()

    async def _predict(self, scope: Mapping[str, Any], receive: Receive) -> _Answer:
        body = await _read(receive, limits=self._limits)
        asked = _query(scope)
        payload = await asyncio.to_thread(
            read_payload,
            body,
            content_type=_header(scope, b"content-type"),
            encoding=_header(scope, b"content-encoding"),
            signature=self._signature,
        )
        if None not in (asked, payload.output) and asked != payload.output:
            raise bad_request(f"output is {asked!r} in the address, but {payload.output!r} in params")
        output = asked or payload.output or "logits"
        inputs = await asyncio.to_thread(self._signature.tensor, payload.examples)
        logits = await self._engine.predict(inputs)
        given = await asyncio.to_thread(
            answer, logits, output=output, classes=self._signature.classes, threshold=self._threshold
        )
        return _Answer(given)


async def _read(receive: Receive, *, limits: Limits) -> bytes:
    """A body; one that is too large is read as well, and not kept."""
    chunks, size, more = [], 0, True
    try:
        async with asyncio.timeout(limits.read_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                chunks.append(message.get("body", b""))
                size, more = size + len(chunks[-1]), message.get("more_body", False)
                if size > limits.body_bytes:
                    chunks.clear()
    except TimeoutError as error:
        sentence = f"the body did not come within {limits.read_s:g} s"
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, sentence) from error
    if size > limits.body_bytes:
        sentence = (
            f"the body has {size} bytes; at most {limits.body_bytes} are taken: send fewer examples at once"
        )
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
    return b"".join(chunks)


def _query(scope: Mapping[str, Any]) -> Output | None:
    """What the address asks for, as in ``/invocations?output=classes``."""
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    if unknown := [name for name, _ in pairs if name != "output"]:
        raise bad_request(f"unknown parameter {unknown[0][:40]!r} in the address; allowed: output")
    return as_output(pairs[-1][1]) if pairs else None


def _header(scope: Mapping[str, Any], name: bytes) -> str:
    values = [value for key, value in scope["headers"] if key == name]
    return values[-1].decode("latin-1").strip() if values else ""


def _error(status: HTTPStatus, sentence: str) -> _Answer:
    return _Answer(json.dumps({"error": sentence}).encode(), status)


async def _send(send: Send, given: _Answer) -> None:
    length = ("content-length", str(len(given.body)))
    headers = (("content-type", "application/json"), length, *given.headers)
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": given.status.value, "headers": encoded})
    await send({"type": "http.response.body", "body": given.body})
