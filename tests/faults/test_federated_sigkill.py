"""`nnray federate` killed at random instants, then resumed: the same bits and history, no metric twice.

`NNRAY_KILLS` sets how many times; the default keeps the suite short.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("NNRAY_KILLS", "2"))
NNRAY = [sys.executable, "-m", "nnray.cli"]
TIMED = ("round_seconds", "train_seconds", "evaluate_seconds")
EXPERIMENT = """
name: clients
data: {name: digits}
model: {name: mlp, hidden: [32], dropout: 0.2}
optimizer: {name: sgd, lr: 0.05}
federated:
  clients: 12
  partition: {name: dirichlet, alpha: 0.5}
  cohort: 6
  rounds: 10
  local_epochs: 4
  batch_size: 8
  strategy: scaffold
"""


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("e.yaml").write_text(EXPERIMENT)


def run(*args: str) -> dict[str, Any]:
    done = subprocess.run([*NNRAY, *args, "--json", "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def history() -> list[dict[str, Any]]:
    """What each round came to, times aside; each is there once."""
    (path,) = Path("runs").glob("*/history.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(1, len(lines) + 1))
    return [{k: v for k, v in line["metrics"].items() if k not in TIMED} for line in lines]


def rows() -> list[tuple[str, int, float]]:
    """Metrics in the store that don't measure time, of its one run."""
    with sqlite3.connect("mlflow.db") as connection:
        (_,) = connection.execute("SELECT run_uuid FROM runs").fetchall()
        found = connection.execute("SELECT key, step, value FROM metrics").fetchall()
    assert len({(key, step) for key, step, _ in found}) == len(found), "no metric twice"
    return sorted(row for row in found if row[0] not in TIMED)


def kill_in_round(number: int, words: list[str], rng: random.Random) -> None:
    """Start or go on with a run, and kill it a moment after the line of a round."""
    process = subprocess.Popen([*NNRAY, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"round {number}/"):
            break
    spun = rng.randrange(200_000)
    while spun:  # somewhere in the round: sleeping would always end at the same place
        spun -= 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_resumes_to_the_same_bits(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path / "whole", monkeypatch)
    expected = run("federate", "e.yaml", f"federated.workers={workers}")
    whole, stored = history(), rows()
    begin(tmp_path / "killed", monkeypatch)
    rng = random.Random(workers)
    words = ["federate", "e.yaml", f"federated.workers={workers}"]
    for number in sorted(rng.sample(range(2, 9), min(KILLS, 7))):
        kill_in_round(number, words, rng)
        words = ["resume", "--last"]
    result = run("resume", "--last")
    assert result["model_sha256"] == expected["model_sha256"]
    assert history() == whole
    assert rows() == stored
    assert result["rounds"] == 10
