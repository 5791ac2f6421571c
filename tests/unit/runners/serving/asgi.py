"""A client without a network: calls an application as a server would, and a small model to serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnray.runners.serving.app import Application, Limits
from nnray.runners.serving.engine import Engine
from nnray.runners.serving.signature import Signature

JSON = {"content-type": "application/json"}
TABLE = Signature((3,), ("no", "yes"))
GAPPY = Signature((3,), ("no", "yes"), missing=True)
IMAGES = Signature((1, 2, 2), ("a", "b", "c"))


class Linear(nn.Module):
    """Logits that can be computed by hand, for inputs of any shape."""

    def __init__(self, signature: Signature) -> None:
        super().__init__()
        size, count = torch.Size(signature.shape).numel(), len(signature.classes)
        self.weight = nn.Parameter(torch.arange(count * size).reshape(count, size) / 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, ...]`` to ``[B, K]``; what is missing counts as 0."""
        return inputs.flatten(1).nan_to_num() @ self.weight.T


def application(signature: Signature = TABLE, *, limits: Limits | None = None) -> Application:
    """An application over ``Linear``."""
    return Application(Engine(Linear(signature)), signature, about={"model": "linear"}, limits=limits)


async def call(
    app: Application,
    body: bytes | Iterable[bytes] = b"",
    *,
    method: str = "POST",
    path: str = "/invocations",
    query: str = "",
    headers: Mapping[str, str] = JSON,
) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers of an answer; the body as JSON where it is."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    messages = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]
    messages[-1]["more_body"] = False
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": raw}
    await app(scope, receive, send)
    start, end = sent
    content = end["body"]
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(answered["content-length"]) == len(content)
    value = json.loads(content) if content[:1] in b"{[" else content.decode()
    return start["status"], value, answered


def ask(app: Application, value: Any, **options: Any) -> tuple[int, Any]:
    """Status and body for a request whose body is JSON, or raw bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    status, answered, _ = asyncio.run(call(app, body, **options))
    return status, answered


def logits(signature: Signature, inputs: Any) -> list[list[float]]:
    """What ``Linear`` gives, the plain way."""
    rows: list[list[float]] = Linear(signature)(torch.tensor(inputs, dtype=torch.float32)).tolist()
    return rows
