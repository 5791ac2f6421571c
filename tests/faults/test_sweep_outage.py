"""A sweep whose MLflow server stands still in the middle: every trial is recorded once, even after a SIGKILL.

`NNRAY_OUTAGE_S` sets for how long; the default keeps the suite short.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nnray.runners.folder import RunFolder, last
from tests.faults.test_outage import OUTAGE_S, Server, pause, until
from tests.faults.test_sweep_sigkill import EXPERIMENT, NNRAY, READY, STATUS, TRIALS, ledger_of, run

pytestmark = [pytest.mark.faults, pytest.mark.ray]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    made = Server(tmp_path / "server")
    made.start()
    yield made
    made.kill()


def ended(folder: Path) -> int:
    found = list(folder.glob("runs/*/journal.jsonl"))
    return found[0].read_text().count('"ended"') if found else 0


def begin(server: Server, folder: Path) -> subprocess.Popen[str]:
    """A sweep with two trials done."""
    Path("e.yaml").write_text(EXPERIMENT + f"tracking: {{uri: '{server.uri}'}}\n")
    command = [*NNRAY, "sweep", "e.yaml", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: ended(folder) >= 2 or process.poll() is not None, "no trial ended")
    assert process.poll() is None, process.communicate()
    return process


def check(server: Server, sweep: RunFolder) -> None:
    """The server has each trial once, with the values that the journal has."""
    with sqlite3.connect(server.folder / "server.db") as connection:
        tags = connection.execute(
            "SELECT tags.value, run_uuid FROM tags JOIN runs USING (run_uuid) "
            "WHERE key = 'nnray.run' AND lifecycle_stage = 'active'"
        ).fetchall()
        status = dict(connection.execute("SELECT run_uuid, status FROM runs").fetchall())
        rows = connection.execute(
            "SELECT run_uuid, step, value FROM metrics WHERE key = 'val_accuracy'"
        ).fetchall()
        logged = connection.execute("SELECT source_run_id, status FROM logged_models").fetchall()
    ids, trials = dict(tags), ledger_of(sweep).trials
    assert len(ids) == len(tags) == TRIALS + 1
    assert len({row[:2] for row in rows}) == len(rows), "no metric twice"
    assert status[ids[sweep.name]] == "FINISHED"
    for trial in trials.values():
        found = {step: value for uuid, step, value in rows if uuid == ids[trial.run]}
        assert (status[ids[trial.run]], found) == (STATUS[trial.state], trial.values)
    ready = Counter(uuid for uuid, state in logged if state == READY)
    assert ready == Counter(ids[trial.run] for trial in trials.values() if trial.chosen)


def stand_still(server: Server) -> None:
    server.signal(signal.SIGSTOP)
    pause.wait(OUTAGE_S)
    server.signal(signal.SIGCONT)


def test_a_server_that_stands_still_gets_all_once(server: Server, tmp_path: Path) -> None:
    process = begin(server, tmp_path)
    stand_still(server)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    subprocess.run([*NNRAY, "sync"], check=False, capture_output=True)
    check(server, last(Path("runs")))


def test_a_sweep_killed_in_the_outage_goes_on_after_it(server: Server, tmp_path: Path) -> None:
    process = begin(server, tmp_path)
    server.signal(signal.SIGSTOP)
    before = ended(tmp_path)
    until(lambda: ended(tmp_path) > before or process.poll() is not None, "no trial ended in the outage")
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(started, timeout=30)
    server.signal(signal.SIGCONT)
    result = run("resume", "--last")
    assert sum(result["trials"].values()) == TRIALS
    check(server, last(Path("runs")))


def test_a_server_that_is_never_there_gets_all_from_sync(server: Server, tmp_path: Path) -> None:
    server.kill()
    Path("e.yaml").write_text(EXPERIMENT + f"tracking: {{uri: '{server.uri}'}}\n")
    result = run("sweep", "e.yaml")
    assert sum(result["trials"].values()) == TRIALS
    assert result["run_id"] == ""
    server.start()
    done = subprocess.run([*NNRAY, "sync"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    check(server, last(Path("runs")))
