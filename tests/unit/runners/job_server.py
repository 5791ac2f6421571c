"""A job server such as a Ray head's, in this process: what it is asked stands in lists."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from nnray.runners.submit import Head

TOKEN = "0123456789abcdef"


@dataclass
class JobServer:
    """Jobs stand still until a test sets their status."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    uploads: int = 0
    cuts: int = 0
    """How many more times a log is cut off after its first piece."""
    taken: str = ""
    """A job that someone else submits just before us."""
    url: str = ""

    @property
    def head(self) -> Head:
        return Head(self.url, TOKEN)

    def app(self) -> web.Application:
        made = web.Application(middlewares=[let_in], client_max_size=2**30)
        made.add_routes(
            [
                web.get("/api/jobs/", self.list),
                web.post("/api/jobs/", self.submit),
                web.post("/api/jobs/{id}/stop", self.stop),
                web.get("/api/jobs/{id}/logs", self.log),
                web.get("/api/jobs/{id}/logs/tail", self.tail),
                web.get("/api/packages/gcs/{name}", self.has),
                web.put("/api/packages/gcs/{name}", self.upload),
                web.get("/broken", self.broken),
            ]
        )
        return made

    async def list(self, request: web.Request) -> web.Response:
        return web.json_response(list(self.jobs.values()))

    async def submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        name = asked["submission_id"]
        if self.taken:
            self.jobs[name] = self.job(name, asked | {"metadata": {"nnray_digest": self.taken}})
            self.taken = ""
        if name in self.jobs:
            return web.Response(status=500, text=f"Traceback:\nValueError: Job {name} already exists.\n")
        self.jobs[name] = self.job(name, asked)
        return web.json_response({"submission_id": name})

    def job(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        return {
            **asked,
            "submission_id": name,
            "status": "RUNNING",
            "start_time": 1000 * (len(self.jobs) + 1),
        }

    async def stop(self, request: web.Request) -> web.Response:
        self.end(request.match_info["id"], "STOPPED")
        return web.json_response({"stopped": True})

    def end(self, name: str, status: str, code: int | None = None) -> None:
        self.jobs[name] |= {"status": status, "end_time": 9000, "driver_exit_code": code}

    async def log(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.logs.get(request.match_info["id"], []))})

    async def tail(self, request: web.Request) -> web.WebSocketResponse:
        name = request.match_info["id"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for piece in self.logs.get(name, []):
            await socket.send_str(piece)
            if self.cuts:
                self.cuts -= 1
                assert request.transport is not None
                request.transport.abort()
                return socket
        if self.jobs[name]["status"] == "RUNNING":
            self.end(name, "SUCCEEDED", 0)
        await socket.close()
        return socket

    async def has(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def upload(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        self.uploads += 1
        return web.Response()

    async def broken(self, request: web.Request) -> web.Response:
        return web.Response(status=500, text="Traceback (most recent call last):\n  ...\nKeyError: 'x'\n")


@web.middleware
async def let_in(request: web.Request, handler: Any) -> web.StreamResponse:
    """As Ray's own: 401 without a token, 403 with a wrong one."""
    given = request.headers.get("Authorization")
    if given is None:
        return web.Response(status=401, text="Unauthorized: Missing authentication token")
    if given != f"Bearer {TOKEN}":
        return web.Response(status=403, text="Forbidden: Invalid authentication token")
    answer: web.StreamResponse = await handler(request)
    return answer


@contextmanager
def running() -> Iterator[JobServer]:
    server, loop = JobServer(), asyncio.new_event_loop()
    ready, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(server.app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield server
    loop.call_soon_threadsafe(over.set)
    thread.join(30)
    loop.close()
