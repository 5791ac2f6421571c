"""What a person sees: MLflow's UI in headless Chromium over a store that nnray wrote."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)
EXPERIMENT = (
    "name: seen\ndata: {name: digits, limit: 100}\nmodel: {name: mlp, hidden: [8]}\ntraining: {epochs: 1}\n"
)
LONG_S = 120.0

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)"),
]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The UI over the store of a run; Ctrl-C must end it, and all that it started."""
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    nnray = [sys.executable, "-m", "nnray.cli"]
    subprocess.run([*nnray, "train", "e.yaml", "--quiet"], cwd=tmp_path, check=True, capture_output=True)
    port = _free_port()
    with (tmp_path / "ui.log").open("wb") as log:
        server = subprocess.Popen([*nnray, "ui", "--port", str(port)], cwd=tmp_path, stdout=log, stderr=log)
    made = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    while not _answers(made) and server.poll() is None and time.monotonic() - began < LONG_S:
        pass
    assert server.poll() is None, (tmp_path / "ui.log").read_text()
    yield made
    server.send_signal(signal.SIGINT)
    server.wait(LONG_S)
    assert not _answers(made), "the server outlived Ctrl-C"


def _page(address: str, folder: Path) -> str:
    """The page as Chromium has it once its scripts have run."""
    assert CHROMIUM is not None
    flags = [f"--{flag}" for flag in ("headless", "no-sandbox", "disable-gpu", *QUIET)]
    own = [f"--user-data-dir={folder / 'chromium'}", "--virtual-time-budget=30000", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *flags, *own, address], capture_output=True, text=True, check=True, timeout=LONG_S
    )
    return done.stdout


def test_the_ui_lists_the_run(address: str, tmp_path: Path) -> None:
    page = _page(f"{address}/#/experiments/1/runs", tmp_path)
    assert "seen-train-" in page
    assert "matching run" in page
