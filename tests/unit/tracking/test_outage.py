"""A store that is away, hangs, or comes back: nothing raises, nothing waits, all arrives once."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from nnray.tracking import MetricRow, MlflowTracker
from nnray.tracking.client import ENVIRONMENT

LONG_S = 120.0
EXAMPLE = np.zeros((2, 4), np.float32)


class Gate:
    """MLflow's REST interface over a SQLite store, behind a port that a test opens and closes.

    The store behind it is MLflow's own. ``lose`` has so many answers get lost after the request was done.
    """

    def __init__(self, uri: str) -> None:
        from mlflow.server import app

        self.uri, self.client, self.lose = uri, app.test_client(), 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def open(self) -> Iterator[None]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = self.headers.get("Content-Type")
                done = gate.client.open(self.path, method=self.command, data=body, content_type=kind)
                if gate.lose and self.command == "POST":
                    gate.lose -= 1
                    self.connection.close()
                    return
                self.send_response(done.status_code)
                self.send_header("Content-Type", done.content_type)
                self.send_header("Content-Length", str(len(done.data)))
                self.end_headers()
                self.wfile.write(done.data)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        with Server(("127.0.0.1", self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield
            server.shutdown()
            thread.join()

    @contextmanager
    def hang(self) -> Iterator[threading.Event]:
        """Take connections and never answer; the event is set once there has been one."""
        called = threading.Event()
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            kept: list[socket.socket] = []

            def accept() -> None:
                while True:
                    try:
                        kept.append(listener.accept()[0])
                    except OSError:
                        return
                    called.set()

            thread = threading.Thread(target=accept)
            thread.start()
            yield called
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


@pytest.fixture
def gate(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    from mlflow.server import (
        ARTIFACT_ROOT_ENV_VAR,
        BACKEND_STORE_URI_ENV_VAR,
        REGISTRY_STORE_URI_ENV_VAR,
        handlers,
    )
    from mlflow.tracking._tracking_service import utils

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    shutil.copy(empty_store, tmp_path / "server.db")
    uri = f"sqlite:///{tmp_path}/server.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # a server sets both for itself
    monkeypatch.setattr(utils, "_tracking_uri", None)
    monkeypatch.setenv(BACKEND_STORE_URI_ENV_VAR, uri)
    monkeypatch.setenv(REGISTRY_STORE_URI_ENV_VAR, uri)
    monkeypatch.setenv(ARTIFACT_ROOT_ENV_VAR, str(tmp_path / "files"))
    monkeypatch.setattr(handlers, "_tracking_store", None)
    monkeypatch.setattr(handlers, "_model_registry_store", None)
    return Gate(uri)


@pytest.fixture
def tracker(gate: Gate) -> Iterator[MlflowTracker]:
    made = MlflowTracker(gate.url, experiment="outage")
    yield made
    made.close(0)


def record(tracker: MlflowTracker, steps: range) -> str:
    run = tracker.start_run(name="one", verb="train", params={"lr": 0.1})
    for step in steps:
        tracker.log_metrics(run, [MetricRow("loss", 1.0 / (step + 1), step, 1_000 + step)])
    return run


def stored(gate: Gate) -> list[dict[str, Any]]:
    """Every run in the store, with the steps of its metric."""
    from mlflow import MlflowClient

    client = MlflowClient(gate.uri, gate.uri)
    experiment = client.get_experiment_by_name("outage")
    return [
        {
            "status": run.info.status,
            "params": run.data.params,
            "steps": [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")],
        }
        for run in client.search_runs([experiment.experiment_id])
    ]


def test_a_store_that_comes_back_gets_all_once(gate: Gate, tracker: MlflowTracker) -> None:
    run = record(tracker, range(50))
    while not tracker.problems():
        assert tracker.flush(0.1) > 0
    assert "records unsent" in tracker.problems()[-1]
    assert tracker.run_id(run, 0.1) is None
    with gate.open():
        assert tracker.flush(LONG_S) == 0
        assert tracker.run_id(run, LONG_S) is not None
    for step in range(50, 60):
        tracker.log_metrics(run, [MetricRow("loss", 0.01, step, 1_000 + step)])
    assert tracker.flush(0.5) > 0
    tracker.end_run(run)
    with gate.open():
        assert tracker.flush(LONG_S) == 0
    assert tracker.problems() == ()
    assert stored(gate) == [{"status": "FINISHED", "params": {"lr": "0.1"}, "steps": list(range(60))}]


def test_a_store_that_hangs_holds_up_no_call(gate: Gate, tracker: MlflowTracker) -> None:
    with gate.hang() as called:
        run = record(tracker, range(1_000))
        future = tracker.log_model(run, module=nn.Linear(4, 2), example=EXAMPLE)
        tracker.end_run(run)
        assert called.wait(LONG_S)
        assert not future.done()
    with gate.open():
        assert tracker.flush(LONG_S) == 0
        assert future.result(LONG_S).uri.startswith("models:/m-")
    assert stored(gate) == [{"status": "FINISHED", "params": {"lr": "0.1"}, "steps": list(range(1_000))}]


def test_a_run_whose_making_was_done_but_not_heard_of_is_not_made_twice(
    gate: Gate, tracker: MlflowTracker
) -> None:
    gate.lose = 4
    with gate.open():
        run = record(tracker, range(3))
        tracker.end_run(run)
        assert tracker.flush(LONG_S) == 0
    assert gate.lose == 0
    assert stored(gate) == [{"status": "FINISHED", "params": {"lr": "0.1"}, "steps": [0, 1, 2]}]


def test_mlflow_repeats_no_request_by_itself(gate: Gate) -> None:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

    assert MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 0


def test_a_data_base_that_is_locked_for_a_while_gets_all_once(
    store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(store_uri, experiment="locked")
    run = tracker.start_run(name="one", verb="train")
    assert tracker.flush(LONG_S) == 0
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for step in range(5):
            tracker.log_metrics(run, [MetricRow("loss", 1.0, step, step)])
        assert tracker.flush(0.3) == 5
        other.execute("ROLLBACK")
    run_id = tracker.run_id(run, LONG_S)
    assert run_id is not None
    assert tracker.close(LONG_S) == 0
    history = MlflowClient(store_uri, store_uri).get_metric_history(run_id, "loss")
    assert [metric.step for metric in history] == list(range(5))


def test_entries_are_plain_data_so_that_a_spool_can_keep_them(gate: Gate, tracker: MlflowTracker) -> None:
    run = record(tracker, range(2))
    tracker.log_model(run, module=nn.Linear(4, 2), example=EXAMPLE)
    tracker.register(run, "net")
    for entry in tracker._spool.peek(100):
        assert json.loads(json.dumps(entry.body)) == entry.body
