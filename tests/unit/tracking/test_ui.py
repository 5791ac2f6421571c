"""The pages open on the same store, say when they can't, and leave no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nnray.errors import TrackingError
from nnray.tracking.ui import check_port, command, serve

ROOT = Path(__file__).resolve().parents[3]
LONG_S = 120.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(LONG_S / 0.05)):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("the condition never held")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def test_a_taken_port_is_named_with_a_free_one(store_uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            TrackingError, match=rf"port {port} on 127\.0\.0\.1 .*in use; free: (\d+), with --port \1"
        ):
            serve(store_uri, port=port)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(TrackingError, match="allowed: 1 to 65535"):
        check_port("127.0.0.1", port)


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"port 5000 on 203\.0\.113\.1"):
        check_port("203.0.113.1", 5_000)


def test_a_folder_where_nothing_was_recorded_says_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"nothing is recorded in .*mlflow\.db yet; run nnray train"):
        serve()
    assert list(tmp_path.iterdir()) == []


def test_one_server_process_on_the_store_that_was_named() -> None:
    arguments = command("sqlite:////data/mlflow.db", host="127.0.0.1", port=5_001)
    assert arguments[arguments.index("--backend-store-uri") + 1] == "sqlite:////data/mlflow.db"
    assert arguments[arguments.index("--workers") + 1] == "1"


class Served:
    """``serve`` in a process of its own."""

    def __init__(self, port: int, *, instead: str = "pass") -> None:
        code = f"from nnray.tracking import ui; {instead}; ui.serve(port={port})"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        wait_for(lambda: self.process.poll() is not None or condition())
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.process.stderr.read().decode() if self.process.stderr is not None else ""

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> None:
        """Send a signal; all that was started goes with it."""
        children = self.children()
        assert children
        self.process.send_signal(number)
        assert self.process.wait(LONG_S) == 0, self.said()
        assert not psutil.wait_procs(children, LONG_S)[1]


def test_the_pages_come_up_over_the_store_and_end_with_ctrl_c(store_uri: str) -> None:
    port = free_port()
    with Served(port) as served:
        served.wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"))
        assert len(served.children()) <= 3
        assert answers(f"http://127.0.0.1:{port}/")
        served.end(signal.SIGINT)


FAMILY = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal; open('up', 'w'); signal.pause()"])
import signal; signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_it_no_process_is_left(store_uri: str, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "family.py").write_text(FAMILY)
    instead = "import sys; ui.command = lambda *_, **__: [sys.executable, 'family.py']"
    with Served(free_port(), instead=instead) as served:
        served.wait_for(lambda: (tmp_path / "up").exists() and len(served.children()) == 2)
        served.end(number)


def test_a_server_that_fails_is_an_error(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nnray.tracking.ui.command", lambda *_, **__: [sys.executable, "-c", "raise SystemExit(3)"]
    )
    with pytest.raises(TrackingError, match="ended with status 3"):
        serve(port=free_port())
