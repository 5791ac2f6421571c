"""What earlier runs could not send: found quickly, sent once, and not from under a process that is at it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnray.runners.folder import RunFolder
from nnray.runners.sync import Synced, sync, unsent
from nnray.tracking import DiskSpool, MetricRow, MlflowTracker, writer
from nnray.tracking.database import create_database
from tests.conftest import ROOT

LONG_S = 120.0
NOWHERE = "http://127.0.0.1:1"
Record = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    create_database(file)
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 0.1)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A run that was recorded while its store was away: its spool is addressed to ``uri``."""

    def make(name: str, uri: str, *, created: float = 0.0) -> RunFolder:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"created": created, "run_id": None}))
        tracker = MlflowTracker(NOWHERE, experiment="mine", spool=DiskSpool(folder / "spool"))
        run = tracker.start_run(name=name, verb="train", key=name)
        tracker.log_metrics(run, [MetricRow("loss", 0.5, 1, 10)])
        (folder / "config.yaml").write_text("a: 1\n")
        tracker.log_artifact(run, folder / "config.yaml")
        tracker.end_run(run, time_ms=9_000)
        assert tracker.close(0) == 4
        about = {"version": 1, "uri": uri, "experiment": "mine"}
        (folder / "spool" / "spool.json").write_text(json.dumps(about))
        return RunFolder(folder)

    return make


def runs_in(uri: str) -> dict[str, Any]:
    from nnray.tracking.client import make_client

    client = make_client(uri)
    found = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    return {run.data.tags["nnray.run"]: run for run in found}


def test_what_waits_is_sent_oldest_run_first(record: Record, store: str, tmp_path: Path) -> None:
    for name, created in (("b", 2.0), ("a", 1.0)):
        record(name, store, created=created)
    root = tmp_path / "runs"
    assert unsent(root)
    assert sync(root, timeout_s=LONG_S) == [Synced("a", 4, 0, ""), Synced("b", 4, 0, "")]
    assert not unsent(root)
    assert sync(root, timeout_s=LONG_S) == []
    found = runs_in(store)
    assert set(found) == {"a", "b"}
    assert {(run.info.status, run.info.end_time) for run in found.values()} == {("FINISHED", 9_000)}


def test_a_run_that_moved_is_sent_from_where_it_is(record: Record, store: str, tmp_path: Path) -> None:
    run = record("a", store)
    (tmp_path / "elsewhere").mkdir()
    run.path.rename(tmp_path / "elsewhere" / "renamed")
    assert sync(tmp_path / "elsewhere", timeout_s=LONG_S) == [Synced("renamed", 4, 0, "")]
    assert set(runs_in(store)) == {"a"}


def test_a_store_that_is_still_away_keeps_it_waiting(record: Record, tmp_path: Path) -> None:
    record("a", NOWHERE)
    (synced,) = sync(tmp_path / "runs", timeout_s=LONG_S)
    assert (synced.sent, synced.left) == (0, 4)
    assert "4 records unsent" in synced.problem
    assert unsent(tmp_path / "runs")


def test_one_run_in_trouble_does_not_keep_back_another(record: Record, store: str, tmp_path: Path) -> None:
    record("a", NOWHERE)
    record("b", store, created=1.0)
    away, sent = sync(tmp_path / "runs", timeout_s=LONG_S)
    assert (away.run, away.left) == ("a", 4)
    assert sent == Synced("b", 4, 0, "")


def test_a_run_that_a_process_is_at_is_left_to_it(record: Record, store: str, tmp_path: Path) -> None:
    run = record("a", store)
    with run.held():
        assert sync(tmp_path / "runs", timeout_s=LONG_S) == []
    spool = DiskSpool(run.path / "spool")
    assert not unsent(tmp_path / "runs")
    spool.close()
    assert unsent(tmp_path / "runs")


def test_what_the_store_refuses_is_told(record: Record, store: str, tmp_path: Path) -> None:
    run = record("a", store)
    (run.path / "config.yaml").unlink()
    (synced,) = sync(tmp_path / "runs", timeout_s=LONG_S)
    assert synced.left == 0
    assert "config.yaml" in synced.problem


@pytest.mark.parametrize("about", ["", "{}", '{"version": 1, "uri": 5, "experiment": "mine"}'])
def test_a_spool_without_a_store_is_told(record: Record, store: str, tmp_path: Path, about: str) -> None:
    run = record("a", store)
    (run.path / "spool" / "spool.json").write_text(about)
    (synced,) = sync(tmp_path / "runs", timeout_s=LONG_S)
    assert (synced.sent, synced.left) == (0, 4)
    assert "resume a" in synced.problem
    assert unsent(tmp_path / "runs")


def test_a_spool_of_a_newer_nnray_is_told(record: Record, store: str, tmp_path: Path) -> None:
    run = record("a", store)
    (run.path / "spool" / "spool.json").write_text('{"version": 2}')
    (synced,) = sync(tmp_path / "runs", timeout_s=LONG_S)
    assert "format 2" in synced.problem
    assert unsent(tmp_path / "runs")


def test_a_file_store_in_a_strangers_spool_is_refused(record: Record, tmp_path: Path) -> None:
    record("a", "file:///tmp/elsewhere")
    (synced,) = sync(tmp_path / "runs", timeout_s=LONG_S)
    assert "file store" in synced.problem


def test_nothing_waits_where_there_is_nothing(tmp_path: Path) -> None:
    assert not unsent(tmp_path / "runs")
    assert sync(tmp_path / "runs", timeout_s=LONG_S) == []
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert not unsent(tmp_path / "runs")


def test_asking_imports_no_mlflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nnray.runners.sync import unsent; unsent(Path('runs'))\n"
        "print([name for name in ('mlflow', 'torch', 'ray') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
