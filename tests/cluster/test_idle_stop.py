"""The head stops once nothing has run for long enough, and never while something may run."""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.files import CLUSTER

_SPEC = importlib.util.spec_from_file_location("idle_stop", CLUSTER / "idle_stop.py")
assert _SPEC is not None and _SPEC.loader is not None
idle_stop = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(idle_stop)

IDLE = {"driver": {"is_active": "INACTIVE", "last_activity_at": None}}
BUSY = {"driver": {"is_active": "ACTIVE", "last_activity_at": None}}
UNKNOWN = {"driver": {"is_active": "ERROR", "reason": "no answer"}}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1e9

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def dashboard(answers: list[Any]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives one answer after another, the last for ever; and the tokens that it was shown."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers.get("Authorization", ""))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(200 if self.path == "/api/component_activities" and answer else 503)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", tokens
        finally:
            server.shutdown()
            thread.join()


def minutes_until_idle(answers: list[Any], monkeypatch: pytest.MonkeyPatch) -> float:
    clock = Clock()
    monkeypatch.setattr(idle_stop.time, "time", clock.time)
    with dashboard(answers) as (address, _):
        idle_stop.wait_until_idle(address, idle_s=600, every_s=60, sleep=clock.sleep)
    return (clock.now - 1e9) / 60


@pytest.mark.parametrize(
    ("answers", "minutes"),
    [
        ([IDLE], 10),
        ([BUSY, BUSY, BUSY, IDLE], 13),
        ([IDLE, IDLE, BUSY, IDLE], 13),
        ([IDLE, IDLE, UNKNOWN, IDLE], 13),
        ([None, IDLE], 11),
        ([IDLE | {"serve": BUSY["driver"]}, IDLE], 11),
    ],
)
def test_the_wait_begins_anew_with_whatever_may_be_work(
    answers: list[Any], minutes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert minutes_until_idle(answers, monkeypatch) == minutes


def test_a_job_that_came_and_went_between_two_looks_counts() -> None:
    ended = {"driver": {"is_active": "INACTIVE", "last_activity_at": 950.0}}
    assert idle_stop.last_activity(ended, now=1000.0, before=100.0) == 950.0
    assert idle_stop.last_activity(ended, now=1000.0, before=980.0) == 980.0
    # A clock that was set back must not make an activity of the future.
    assert idle_stop.last_activity(ended, now=900.0, before=100.0) == 900.0


def test_the_token_is_shown_and_not_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("abc\n", encoding="utf-8")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with dashboard([IDLE]) as (address, tokens):
        assert idle_stop.ask(address) == IDLE
    assert tokens == ["Bearer abc"]


def test_the_states_are_rays_own() -> None:
    import ray

    # Read and not imported: its models warn.
    source = (Path(ray.__file__).parent / "dashboard/modules/job/job_head.py").read_text(encoding="utf-8")
    states = source.partition("class RayActivityStatus")[2].partition("class ")[0]
    assert set(re.findall(r' = "(\w+)"', states)) == {"ACTIVE", "INACTIVE", "ERROR"}
    assert '"/api/component_activities"' in source
