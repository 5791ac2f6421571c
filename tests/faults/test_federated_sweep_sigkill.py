"""A federated `nnray sweep` killed in the middle of a trial, then resumed: nothing lost, nothing done twice.

With one trial at a time it must come to what an undisturbed sweep came to, round by round.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from nnray.runners.folder import last
from tests.faults.test_outage import until
from tests.faults.test_sweep_sigkill import NNRAY, TRIALS, came_to, check, ledger_of, run

pytestmark = [pytest.mark.faults, pytest.mark.ray]

EXPERIMENT = f"""
name: clients
data: {{name: digits}}
model: {{name: mlp, hidden: [32], dropout: 0.2}}
optimizer: {{name: sgd, lr: 0.05}}
federated:
  clients: 12
  partition: {{name: dirichlet, alpha: 0.5}}
  rounds: 9
  cohort: 6
  local_epochs: 4
  batch_size: 8
  strategy: scaffold
sweep:
  of: federate
  space:
    optimizer.lr: {{loguniform: [1e-3, 1.0]}}
    federated.cohort: {{int: [2, 8]}}
  trials: {TRIALS}
  scheduler: asha
  concurrency: 1
"""


def test_a_killed_federated_sweep_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin(tmp_path / "whole", monkeypatch)
    run("sweep", "e.yaml")
    check(whole)
    killed = begin(tmp_path / "killed", monkeypatch)
    trial = kill_in_a_trial(killed)
    before = rounds_of(killed, trial)
    assert 2 <= len(before) <= 9
    result = run("resume", "--last")
    assert result["verb"] == "sweep"
    assert sum(result["trials"].values()) == TRIALS
    check(killed)
    check_nested(killed)
    assert rounds_of(killed, trial)[: len(before)] == before, "rounds done before the kill stand"
    assert came_to(killed) == came_to(whole)


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("e.yaml").write_text(EXPERIMENT)
    return folder


def kill_in_a_trial(folder: Path) -> int:
    """Begin a sweep, and kill it in the middle of a trial after others have ended; which trial that is."""
    with Path("out").open("wb") as out:
        process = subprocess.Popen([*NNRAY, "sweep", "e.yaml", "--quiet"], stdout=out, stderr=out)
        until(lambda: under_way(folder) is not None or process.poll() is not None, "no trial was under way")
        trial = under_way(folder)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert trial is not None, Path("out").read_text()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    return trial


def under_way(folder: Path) -> int | None:
    """The trial that has two rounds or more and goes on, once two others have ended."""
    found = list(folder.glob("runs/*/journal.jsonl"))
    lines = found[0].read_text().splitlines(keepends=True) if found else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    ended = {event["trial"] for event in events if event["event"] == "ended"}
    rounds = Counter(event["trial"] for event in events if event["event"] == "reported")
    going = [trial for trial, number in rounds.items() if number >= 2 and trial not in ended]
    return going[0] if going and len(ended) >= 2 else None


def rounds_of(folder: Path, trial: int) -> list[dict[str, Any]]:
    (path,) = folder.glob(f"runs/*/trials/{trial:04d}/history.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_nested(folder: Path) -> None:
    """Every trial's run stands under the sweep's with each of its rounds, and none is still running."""
    sweep = last(folder / "runs")
    with sqlite3.connect(folder / "mlflow.db") as connection:
        tags = connection.execute("SELECT value, run_uuid FROM tags WHERE key = 'nnray.run'").fetchall()
        parents = connection.execute(
            "SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"
        ).fetchall()
        status = {row[0] for row in connection.execute("SELECT status FROM runs")}
        rows = connection.execute("SELECT run_uuid, step, value FROM metrics WHERE key = 'cohort'").fetchall()
    ids = dict(tags)
    assert dict(parents) == {ids[name]: ids[sweep.name] for name in ids if name != sweep.name}
    assert "RUNNING" not in status
    for trial in ledger_of(sweep).trials.values():
        own = sorted((step, value) for uuid, step, value in rows if uuid == ids[trial.run])
        assert own == [(number, trial.params["federated.cohort"]) for number in range(1, trial.epoch + 1)]
