"""`nnray sweep` killed at random instants, then resumed: nothing lost, nothing doubled, nothing left over.

`NNRAY_KILLS` sets how many times; the default keeps the suite short. With one trial at a time a
resumed sweep must come to what an undisturbed one came to; with two, the order in which they
report is nobody's to choose, and what was written down must add up.
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
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nnray.runners.folder import RunFolder, last
from nnray.runners.sweep.journal import Decided, Ended, Journal, Reported
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.schedulers import SuccessiveHalving

pytestmark = [pytest.mark.faults, pytest.mark.ray]

KILLS = int(os.environ.get("NNRAY_KILLS", "2"))
NNRAY = [sys.executable, "-m", "nnray.cli"]
TRIALS, EPOCHS = 8, 9
EXPERIMENT = f"""
name: digits
data: {{name: digits}}
model: {{name: mlp, hidden: [32], dropout: 0.2}}
training: {{epochs: {EPOCHS}, batch_size: 16, threads: 1}}
sweep:
  space:
    optimizer.lr: {{loguniform: [1e-4, 1e-1]}}
    model.dropout: {{uniform: [0.0, 0.6]}}
  trials: {TRIALS}
  scheduler: asha
  search: tpe
"""
STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
READY = 2
"""A logged model that is whole, as MLflow's data base has it."""
STATES = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_killed_sweep_resumes(concurrency: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    override = f"sweep.concurrency={concurrency}"
    whole = begin(tmp_path / "whole", monkeypatch)
    began = time.monotonic()
    run("sweep", "e.yaml", override)
    took = time.monotonic() - began
    check(whole)
    rng = random.Random()
    for number in range(max(1, KILLS // 2)):
        folder = begin(tmp_path / f"cut{number}", monkeypatch)
        seconds = rng.uniform(0.3, 1.0) * took
        if not kill_after(seconds, "sweep", "e.yaml", override):
            continue
        near_at_hand(folder)
        result = run("resume", "--last")
        assert sum(result["trials"].values()) == TRIALS, f"killed after {seconds:.3f} s"
        check(folder)
        if concurrency == 1:
            assert came_to(folder) == came_to(whole), f"killed after {seconds:.3f} s"


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("e.yaml").write_text(EXPERIMENT)
    return folder


def run(*args: str) -> dict[str, Any]:
    done = subprocess.run([*NNRAY, *args, "--json", "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def kill_after(seconds: float, *args: str) -> bool:
    """Start a command, and kill it; whether a run had begun and not ended. None of its processes stays."""
    with Path("out").open("wb") as out:
        process = subprocess.Popen([*NNRAY, *args, "--quiet"], stdout=out, stderr=out)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            process.wait()
            _, alive = psutil.wait_procs(started, timeout=30)
            assert alive == []
    assert process.returncode in (0, -signal.SIGKILL), Path("out").read_text()
    return process.returncode != 0 and bool(list(Path().glob("runs/*/run.json")))


def near_at_hand(folder: Path) -> None:
    """A checkpoint stands no further back than one interval from where each running trial was."""
    for trial in folder.glob("runs/*/trials/*"):
        if not (trial / "model.safetensors").exists() and (trial / "history.jsonl").exists():
            done = len((trial / "history.jsonl").read_text().splitlines())
            saved = [int(path.name.removeprefix("epoch-")) for path in trial.glob("checkpoints/epoch-*")]
            assert done - max(saved, default=0) <= 1, trial


def ledger_of(run: RunFolder) -> Ledger:
    return Ledger("max", events=Journal(run.path / "journal.jsonl").events())


def came_to(folder: Path) -> list[tuple[Any, ...]]:
    trials = ledger_of(last(folder / "runs")).trials.values()
    return [(t.number, t.params, t.state, t.epoch, t.chosen, t.value, t.values) for t in trials]


def check(folder: Path) -> None:
    """Journal, study, rungs and record say the same, once."""
    run = last(folder / "runs")
    events = list(Journal(run.path / "journal.jsonl").events())
    trials = ledger_of(run).trials
    assert Counter(e.trial for e in events if isinstance(e, Ended)) == Counter(range(TRIALS))
    assert max(Counter((e.trial, e.epoch) for e in events if isinstance(e, Reported)).values()) == 1
    check_study(run, trials)
    check_rungs(events)
    check_record(folder, run, trials)
    assert not list((run.path / "trials").glob("*/checkpoints")), "models are kept, checkpoints are not"


def check_study(run: RunFolder, trials: dict[int, Trial]) -> None:
    storage = JournalStorage(JournalFileBackend(str(run.path / "study.journal")))
    study = optuna.load_study(study_name=run.name, storage=storage)
    assert [t.state.name for t in study.trials] == [STATES[t.state] for t in trials.values()]
    for told, trial in zip(study.trials, trials.values(), strict=True):
        assert told.params == trial.params
        assert told.intermediate_values == trial.values


def check_rungs(events: list[Any]) -> None:
    """Judging all that was reported once more decides the same."""
    scheduler, decided = SuccessiveHalving("max"), {}
    for event in events:
        if isinstance(event, Reported) and not event.is_last:
            verdict = scheduler.judge(event.trial, event.epoch, event.value)
            if verdict is not None:
                decided[event.trial, event.epoch] = verdict.stop
    assert decided == {(e.trial, e.epoch): e.stop for e in events if isinstance(e, Decided)}


def check_record(folder: Path, run: RunFolder, trials: dict[int, Trial]) -> None:
    with sqlite3.connect(folder / "mlflow.db") as connection:
        tags = connection.execute("SELECT value, run_uuid FROM tags WHERE key = 'nnray.run'").fetchall()
        status = dict(connection.execute("SELECT run_uuid, status FROM runs").fetchall())
        rows = connection.execute("SELECT run_uuid, key, step, value FROM metrics").fetchall()
        logged = connection.execute("SELECT source_run_id, status FROM logged_models").fetchall()
    ids = dict(tags)
    assert len(ids) == len(tags) == len(status) == TRIALS + 1
    assert status[ids[run.name]] == "FINISHED"
    assert len({row[:3] for row in rows}) == len(rows), "no metric twice"
    assert Counter(logged) == Counter((ids[t.run], READY) for t in trials.values() if t.chosen)
    for trial in trials.values():
        found = {
            step: value for uuid, key, step, value in rows if (uuid, key) == (ids[trial.run], "val_accuracy")
        }
        assert status[ids[trial.run]] == STATUS[trial.state]
        assert found == trial.values
