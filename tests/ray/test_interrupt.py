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
from nnray.runners.sweep.journal import Journal, Suspended
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
    ledger = Ledger("max", events=events)
    assert {trial.state for trial in ledger.trials.values()} <= {"finished", "interrupted"}
    suspended = [event.trial for event in events if isinstance(event, Suspended)]
    assert suspended == [trial.number for trial in ledger.open]
    assert folder.record["status"] == "interrupted"


def test_ctrl_c_twice_leaves_at_once(running: subprocess.Popen[str]) -> None:
    processes = psutil.Process(running.pid).children(recursive=True)
    os.killpg(running.pid, signal.SIGINT)
    assert running.stderr is not None
    assert any(line.startswith("stopping") for line in running.stderr)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err
    assert "nnray resume" in err
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []


def test_an_interrupted_sweep_goes_on(running: subprocess.Popen[str]) -> None:
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=120)
    folder = last(Path("runs"))
    before = Ledger("max", events=Journal(folder.path / "journal.jsonl").events())
    trials = str(len(before.trials) + 1)
    command = [
        sys.executable,
        "-m",
        "nnray.cli",
        "resume",
        folder.name,
        "--trials",
        trials,
        "--json",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = Ledger("max", events=Journal(folder.path / "journal.jsonl").events())
    assert len(after.trials) == int(trials)
    assert {trial.state for trial in after.trials.values()} == {"finished"}
    for number, trial in before.trials.items():
        assert after.trials[number].params == trial.params
        assert trial.values.items() <= after.trials[number].values.items()
