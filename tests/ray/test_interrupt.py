"""Ctrl-C: trials are recorded as interrupted, and no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from nnray.runners.folder import last
from nnray.runners.sweep.journal import Ended, Journal
from nnray.runners.sweep.ledger import Ledger

pytestmark = [pytest.mark.ray, pytest.mark.faults]
EXPERIMENT = {
    "name": "tiny",
    "data": {"name": "digits", "limit": 200},
    "model": {"name": "mlp", "hidden": [8]},
    "training": {"epochs": 3, "threads": 1},
    "sweep": {"space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}, "trials": 10_000, "scheduler": "none"},
}


@pytest.fixture
def running(tmp_path: Path) -> subprocess.Popen[str]:
    """A sweep in a process group of its own, as a terminal has it, with one trial done."""
    Path("tiny.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    command = [sys.executable, "-m", "nnray.cli", "sweep", "tiny.yaml"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("[1/"):
            return process
    raise AssertionError("".join(seen))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_once_stops_cleanly(running: subprocess.Popen[str], number: signal.Signals) -> None:
    processes = psutil.Process(running.pid).children(recursive=True)
    assert processes
    send = os.killpg if number is signal.SIGINT else os.kill  # a terminal's Ctrl-C goes to the whole group
    send(running.pid, number)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "nnray resume" in err
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []
    folder = last(Path("runs"))
    events = list(Journal(folder.path / "journal.jsonl").events())
    trials = Ledger("max", events).trials.values()
    assert {trial.state for trial in trials} <= {"finished", "interrupted"}
    assert len([event for event in events if isinstance(event, Ended)]) == len(trials)
    assert folder.record["status"] == "interrupted"
