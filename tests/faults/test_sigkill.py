"""`nnray train` killed at random instants, then resumed: the same bits, no metric twice.

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
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("NNRAY_KILLS", "3"))
NNRAY = [sys.executable, "-m", "nnray.cli"]
EXPERIMENT = """
name: digits
data: {name: digits}
model: {name: mlp, hidden: [32], dropout: 0.2}
training: {epochs: 12, batch_size: 16, threads: 1}
"""


def _run(*args: str) -> dict[str, Any]:
    done = subprocess.run([*NNRAY, *args, "--json", "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _rows(folder: Path) -> list[tuple[str, int, float]]:
    """Metrics in the store that don't measure time, of its one run."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        runs = connection.execute("SELECT run_uuid FROM runs").fetchall()
        rows = connection.execute("SELECT key, step, value FROM metrics").fetchall()
    assert len(runs) == 1, "one run in the store, however often it was killed"
    assert len({(key, step) for key, step, _ in rows}) == len(rows), "no metric twice"
    timed = ("epoch_seconds", "samples_per_s")
    return sorted(row for row in rows if row[0] not in timed)


def _kill_after(seconds: float) -> bool:
    """Start a run and kill it; whether it had begun and not ended."""
    with Path("out").open("wb") as out:
        process = subprocess.Popen([*NNRAY, "train", "e.yaml", "--quiet"], stdout=out, stderr=out)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert process.returncode in (0, -signal.SIGKILL), Path("out").read_text()
    return process.returncode != 0 and bool(list(Path().glob("runs/*/run.json")))


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    monkeypatch.chdir(whole)
    Path("e.yaml").write_text(EXPERIMENT)
    began = time.monotonic()
    expected = _run("train", "e.yaml")
    took = time.monotonic() - began
    rng = random.Random()
    for number in range(KILLS):
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        Path("e.yaml").write_text(EXPERIMENT)
        seconds = rng.uniform(0.1, 1.0) * took
        if not _kill_after(seconds):
            continue
        resumed = _run("resume", "--last")
        assert resumed["model_sha256"] == expected["model_sha256"], f"killed after {seconds:.3f} s"
        assert _rows(folder) == _rows(whole), f"killed after {seconds:.3f} s"
