"""A real MLflow server, stopped, killed or never there, with and without a SIGKILL of the driver.

Nothing is lost, nothing is doubled, and no call on the training path waits. `NNRAY_OUTAGE_S` sets how
long the server stands still; the default keeps the suite short.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nnray.runners.sync import sync, unsent
from nnray.tracking import DiskSpool, MlflowTracker, writer
from nnray.tracking.client import ENVIRONMENT
from nnray.tracking.ui import command
from tests.conftest import ROOT
from tests.faults.outage_driver import (
    EXPERIMENT,
    Timed,
    expected,
    num_versions,
    record_end,
    record_parent,
    record_trial,
    stored,
)

pytestmark = pytest.mark.faults

LONG_S = 120.0
OUTAGE_S = float(os.environ.get("NNRAY_OUTAGE_S", "2"))
TIMEOUT_S = 20 if OUTAGE_S > 10 else 1
"""Of a request: shorter than the outage, so that requests are given up that are carried out later."""
SLOWEST_S = 0.5
"""Five times what is promised: two cores are shared by all that runs beside a test."""


pause = threading.Event()
"""Never set: waits between looks."""


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, what
        pause.wait(0.05)


class Server:
    """An MLflow server with a data base of its own, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        from nnray.tracking.database import create_database

        self.folder = folder
        create_database(folder / "server.db")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def start(self) -> None:
        self.artifacts.mkdir(exist_ok=True)
        own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
        serve = command(f"sqlite:///{self.folder / 'server.db'}", host="127.0.0.1", port=self.port)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*serve, "--artifacts-destination", str(self.artifacts)],
                env={**os.environ, **ENVIRONMENT, **own},
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self.answers, (self.folder / "server.log").read_text())

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def short_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a run, as far as a spool and ``sync`` need it."""
    folder = tmp_path / "runs" / request.node.name.removeprefix("test_")[:60]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"created": 0.0, "run_id": None}))
    return folder


@pytest.fixture
def driver(server: Server, run: Path) -> Iterator[subprocess.Popen[str]]:
    """The driver's process, which has not begun its trials."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.outage_driver", server.uri, str(run), "3"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def go(process: subprocess.Popen[str]) -> float:
    """Have the driver record its trials; gives its slowest call."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    word, _, slowest = said(process).partition(" ")
    assert word == "recorded"
    return float(slowest)


def test_a_server_that_stands_still_gets_all_once(server: Server, run: Path) -> None:
    tracker = MlflowTracker(server.uri, experiment=EXPERIMENT, spool=DiskSpool(run / "spool"))
    timed = Timed(tracker)
    record_parent(timed, run.name)
    record_trial(timed, run.name, 0)
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    record_trial(timed, run.name, 1)
    models = threading.Thread(target=record_trial, args=(timed, run.name, 2))
    models.start()
    models.join()
    record_end(timed, run.name, champion=1)
    waited = time.monotonic()
    assert tracker.flush(LONG_S) > 0
    assert time.monotonic() - waited < 30, "a wait in an outage is short"
    until(lambda: time.monotonic() - began > OUTAGE_S and bool(tracker.problems()), "no request was given up")
    server.signal(signal.SIGCONT)
    until(lambda: tracker.flush(5.0) == 0, "it was not sent")
    assert tracker.problems() == ()
    assert tracker.close(LONG_S) == 0
    assert stored(server.uri, run.name) == expected(run.name, 3)
    assert num_versions(server.uri, run.name) == 1
    print(f"the slowest call took {timed.slowest:.3f} s")
    assert timed.slowest < SLOWEST_S
    assert not unsent(run.parent)


def test_a_driver_killed_while_the_server_stands_still_loses_nothing(
    server: Server, run: Path, driver: subprocess.Popen[str]
) -> None:
    assert said(driver) == "going\n"
    server.signal(signal.SIGSTOP)
    slowest = go(driver)
    driver.kill()
    driver.wait()
    server.signal(signal.SIGCONT)
    assert unsent(run.parent)
    (synced,) = sync(run.parent, timeout_s=LONG_S)
    assert (synced.run, synced.left, synced.problem) == (run.name, 0, "")
    assert synced.sent > 0
    assert stored(server.uri, run.name) == expected(run.name, 3)
    assert num_versions(server.uri, run.name) == 1
    print(f"the slowest call took {slowest:.3f} s")
    assert slowest < SLOWEST_S
    assert not unsent(run.parent)
    assert sync(run.parent, timeout_s=LONG_S) == []


def test_a_server_that_was_not_there_gets_all_from_a_killed_driver(
    server: Server, run: Path, driver: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 1.0)
    server.kill()
    assert said(driver) == "going\n"
    slowest = go(driver)
    driver.kill()
    driver.wait()
    began = time.monotonic()
    (away,) = sync(run.parent, timeout_s=LONG_S)
    assert time.monotonic() - began < 60, "a store that is away is given up soon"
    assert away.sent == 0
    assert away.left > 100
    assert "records unsent" in away.problem
    server.start()
    shutil.copytree(run / "spool", run / "copy")
    (synced,) = sync(run.parent, timeout_s=LONG_S)
    assert (synced.sent, synced.left, synced.problem) == (away.left, 0, "")
    assert stored(server.uri, run.name) == expected(run.name, 3)
    shutil.rmtree(run / "spool")
    (run / "copy").rename(run / "spool")
    (again,) = sync(run.parent, timeout_s=LONG_S)
    assert (again.sent, again.left, again.problem) == (away.left, 0, "")
    assert stored(server.uri, run.name) == expected(run.name, 3), "replaying changes nothing"
    assert num_versions(server.uri, run.name) == 1
    print(f"the slowest call took {slowest:.3f} s")
    assert slowest < SLOWEST_S


def test_a_model_that_the_server_fails_to_take_blocks_nothing_and_is_sent_by_sync(
    server: Server, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LAST_RETRY_S", 0.1)
    tracker = MlflowTracker(server.uri, experiment=EXPERIMENT, spool=DiskSpool(run / "spool"))
    record_parent(tracker, run.name)
    assert tracker.flush(LONG_S) == 0
    aside = server.artifacts.rename(server.folder / "aside")
    server.artifacts.write_text("no folder")
    record_trial(tracker, run.name, 0)
    record_end(tracker, run.name, champion=0)
    tracker.log_params(run.name, {"after": 1})
    assert tracker.close(LONG_S) == 0, tracker.problems()
    failed = [problem.split(" of ")[0] for problem in tracker.problems() if "failed 10 times" in problem]
    assert failed == ["text", "model", "register"]
    server.artifacts.unlink()
    aside.rename(server.artifacts)
    assert not unsent(run.parent)
    (synced,) = sync(run.parent, timeout_s=LONG_S)
    assert (synced.sent, synced.left, synced.problem) == (3, 0, "")
    whole = expected(run.name, 1)
    whole[run.name]["params"]["after"] = "1"
    assert stored(server.uri, run.name) == whole
    assert num_versions(server.uri, run.name) == 1
    assert sync(run.parent, timeout_s=LONG_S) == []
