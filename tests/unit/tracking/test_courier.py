"""MLflow in a process of its own: what it is asked, it does; when it ends, another takes its place."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from nnray.tracking import MetricRow, MlflowTracker, ModelRecord
from nnray.tracking import courier as module
from nnray.tracking.courier import Courier
from nnray.tracking.delivery import serve
from nnray.tracking.reasons import Failed, reason
from nnray.tracking.spool import Entry
from nnray.tracking.writer import Refused

LONG_S = 60.0
START = {"name": "one", "verb": "train", "parent": None, "time_ms": 5, "tags": {}}


@pytest.fixture
def courier(store_uri: str, tmp_path: Path) -> Iterator[Courier]:
    made = Courier(store_uri, "mine", artifacts=None, root=tmp_path)
    yield made
    made.close()


def pid() -> int:
    return module._running[-1]._child.pid


def client(uri: str) -> Any:
    from nnray.tracking.client import make_client

    return make_client(uri)


def test_what_is_delivered_is_in_the_store(courier: Courier, store_uri: str) -> None:
    run_id = courier(Entry("start", "one", START))
    assert courier(Entry("metrics", "one", {"rows": [["loss", 0.5, 1, 7]]})) is None
    run = client(store_uri).get_run(run_id)
    assert (run.data.metrics, run.info.start_time) == ({"loss": 0.5}, 5)
    assert courier.answers()


def test_a_refusal_comes_back_as_one(courier: Courier) -> None:
    with pytest.raises(Refused, match="has no run with the tag"):
        courier(Entry("tags", "nobody", {"tags": {"a": "b"}}))


def test_why_a_store_is_away_comes_back_in_its_words(tmp_path: Path) -> None:
    away = Courier("http://127.0.0.1:9", "mine", artifacts=None, root=tmp_path)
    with pytest.raises(Failed) as caught:
        away(Entry("start", "one", START))
    assert reason(caught.value) == "Connection refused"
    assert not away.answers()
    away.close()


def test_files_outside_the_runs_folder_are_not_sent(courier: Courier, tmp_path: Path) -> None:
    courier(Entry("start", "one", START))
    (tmp_path.parent / "secret.txt").write_text("secret")
    with pytest.raises(Refused, match="no such file in the run's folder"):
        courier(Entry("artifact", "one", {"path": "../secret.txt", "folder": ""}))


def test_a_process_that_was_killed_is_replaced(courier: Courier) -> None:
    run_id = courier(Entry("start", "one", START))
    first = pid()
    os.kill(first, signal.SIGKILL)
    found = None
    while found is None:  # it may be asked before its end is seen
        with contextlib.suppress(Failed):
            found = courier(Entry("id", "one", {}))
    assert found == run_id
    assert pid() != first


def test_a_tracker_outlives_the_process(store_uri: str) -> None:
    tracker = MlflowTracker(store_uri, experiment="mine")
    run = tracker.start_run(name="one", verb="train")
    assert tracker.run_id(run, LONG_S)
    os.kill(pid(), signal.SIGKILL)
    tracker.log_metrics(run, [MetricRow("loss", 0.5, 1, 7), MetricRow("loss", 0.25, 2, 8)])
    logged = tracker.log_model(run, module=nn.Linear(4, 3), example=np.zeros((2, 4), np.float32), step=2)
    assert isinstance(logged.result(LONG_S), ModelRecord)
    run_id = tracker.run_id(run, LONG_S)
    assert tracker.close(LONG_S) == 0
    history = client(store_uri).get_metric_history(run_id, "loss")
    assert sorted((row.step, row.value) for row in history) == [(1, 0.5), (2, 0.25)]


def test_two_stores_share_the_process(store_uri: str, tmp_path: Path) -> None:
    couriers = [Courier(store_uri, name, artifacts=None, root=tmp_path) for name in ("a", "b")]
    for courier in couriers:
        courier(Entry("start", "one", START))
        courier.close()
    names = {each.name for each in client(store_uri).search_experiments()}
    assert {"a", "b"} <= names
    assert len(module._running) == 1


def test_it_ends_with_whoever_started_it(store_uri: str, tmp_path: Path) -> None:
    code = (
        "import signal, os; from nnray.tracking.courier import Courier, _running; from pathlib import Path;"
        f"Courier({store_uri!r}, 'mine', artifacts=None, root=Path({str(tmp_path)!r})).answers();"
        "print(_running[-1]._child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(module.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False, timeout=LONG_S
    )
    child = int(done.stdout)
    for _ in range(1000):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            return
        subprocess.run(["true"], check=True)
    pytest.fail("the process outlived its parent")


def test_a_request_to_a_closed_store_is_answered() -> None:
    answers = io.BytesIO()
    serve(io.BytesIO(json.dumps({"store": 7, "answers": True, "id": 8}).encode() + b"\n"), answers)
    assert json.loads(answers.getvalue()) == {"failed": "the tracker is closed", "id": 8}


def test_the_caller_never_imports_mlflow(store_uri: str, tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from torch import nn; from nnray.tracking import MlflowTracker;"
        f"t = MlflowTracker({store_uri!r}, experiment='mine'); r = t.start_run(name='one', verb='train');"
        "m = t.log_model(r, module=nn.Linear(4, 3), example=np.zeros((2, 4), np.float32));"
        "print(m.result(60).uri); t.close(); print('mlflow' in sys.modules)"
    )
    root = Path(module.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    uri, imported = done.stdout.split()
    assert uri.startswith("models:/m-")
    assert imported == "False"
