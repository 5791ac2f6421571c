"""What a tracker does with its spool: models on disk before a call returns, files below the run's folder."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnray.errors import IncompatibleModel, RunError, TrackingError
from nnray.tracking import DiskSpool, MemoryTracker, MetricRow, MlflowTracker, disk_spool, writer
from nnray.tracking.mlflow_store import MlflowStore
from nnray.tracking.spool import KINDS, Entry
from nnray.tracking.writer import Refused

LONG_S = 120.0
EXAMPLE = np.zeros((2, 4), np.float32)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "spool"


@pytest.fixture
def away(folder: Path) -> Iterator[MlflowTracker]:
    """A tracker whose store is never there."""
    made = MlflowTracker(NOWHERE, experiment="mine", spool=DiskSpool(folder))
    yield made
    made.close(0)


class Branching(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs if inputs.sum() > 0 else inputs[:, :3]


def test_a_model_is_whole_on_disk_before_the_call_returns(away: MlflowTracker, folder: Path) -> None:
    run = away.start_run(name="one", verb="train")
    module = nn.Linear(4, 2)
    future = away.log_model(run, module=module, example=EXAMPLE)
    (written,) = folder.glob("model-*")
    loaded = torch.export.load(written / "data" / "model.pt2").module()
    expected = module(torch.ones(3, 4))
    torch.testing.assert_close(loaded(torch.ones(3, 4)), expected)
    assert not future.done()
    assert not list(written.rglob("*.pkl"))
    assert not list(written.rglob("*.pth"))


def test_a_module_stays_as_it_was(away: MlflowTracker) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    module[2].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    away.log_model(away.start_run(name="one", verb="train"), module=module, example=EXAMPLE)
    assert [each.training for each in module.modules()] == [True, True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_module_that_can_not_be_traced_is_told_at_once(away: MlflowTracker) -> None:
    run = away.start_run(name="one", verb="train")
    error = away.log_model(run, module=Branching(), example=EXAMPLE).exception(0)
    assert isinstance(error, IncompatibleModel)


def test_a_full_disk_is_told_at_once(
    away: MlflowTracker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr("torch.export.save", full)
    error = away.log_model("one", module=nn.Linear(4, 2), example=EXAMPLE).exception(0)
    assert isinstance(error, TrackingError)
    assert "can't write the model" in str(error)
    assert not list(folder.glob("model-*"))


def test_wait_says_why_it_waited_for_nothing(away: MlflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 0.1)
    run = away.start_run(name="one", verb="train")
    future = away.register(run, "net")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:1 has not taken it yet: .*refused"):
        away.wait(future, LONG_S)
    assert away.run_id(run, LONG_S) is None
    assert away.close(LONG_S) == 3
    assert "it was not sent" in str(future.exception(0))


def test_wait_gives_the_result_or_the_error() -> None:
    tracker = MemoryTracker()
    run = tracker.start_run(name="one", verb="train")
    module = nn.Linear(4, 2)
    logged = tracker.log_model(run, module=module, example=EXAMPLE)
    assert tracker.wait(logged, LONG_S).uri.startswith("memory:")
    with torch.no_grad():
        module.weight.zero_()
    assert tracker.runs[run].modules["model", 0].weight.any()
    with pytest.raises(TrackingError, match="no model 'other'"):
        tracker.wait(tracker.register(run, "net", model="other"), LONG_S)
    tracker.close()


def test_the_spool_is_named_where_it_outlives_the_process(away: MlflowTracker, folder: Path) -> None:
    assert away.spool == folder
    tracker = MemoryTracker()
    assert tracker.spool is None
    tracker.close()


def test_what_an_outage_left_goes_out_first_and_once(store_uri: str, folder: Path) -> None:
    from mlflow import MlflowClient

    spool = DiskSpool(folder)
    spool.address(uri=store_uri, experiment="mine")
    start = {"name": "one", "verb": "train", "parent": None, "time_ms": 5, "tags": {}}
    for entry in (
        Entry("start", "one", start),
        Entry("params", "one", {"params": {"lr": "0.1"}}),
        Entry("metrics", "one", {"rows": [["loss", 0.5, 1, 10]]}),
        Entry("id", "one", {"ticket": "of a process that is gone"}),
    ):
        spool.append(entry)
    spool.close()
    tracker = MlflowTracker(store_uri, experiment="mine", spool=DiskSpool(folder))
    tracker.log_params("one", {"lr": "0.2"})
    tracker.log_metrics("one", [MetricRow("loss", 0.5, 1, 10), MetricRow("loss", 0.25, 2, 20)])
    run_id = tracker.run_id("one", LONG_S)
    assert tracker.close(LONG_S) == 0
    assert any("lr" in problem for problem in tracker.problems()), "the first value is the one that waited"
    client = MlflowClient(store_uri, store_uri)
    assert run_id is not None
    assert client.get_run(run_id).data.params == {"lr": "0.1"}
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [(1, 0.5), (2, 0.25)]
    assert {path.name for path in folder.iterdir()} == {"lock", "spool.json"}


def test_replaying_a_whole_run_changes_nothing(store_uri: str, folder: Path, tmp_path: Path) -> None:
    """A kill before the offset was written, at the worst: all goes out again."""
    from mlflow import MlflowClient

    def snapshot() -> tuple[Any, ...]:
        client = MlflowClient(store_uri, store_uri)
        (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
        (model,) = client.search_logged_models([run.info.experiment_id])
        rows = [
            (m.key, m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, "loss")
        ]
        inputs = [(data.dataset.name, data.dataset.digest) for data in run.inputs.dataset_inputs]
        versions = [(v.version, v.aliases) for v in client.search_model_versions("name = 'net'")]
        outputs = [output.model_id for output in run.outputs.model_outputs]
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        info = (run.info.run_id, run.info.status, run.info.start_time, run.info.end_time)
        return info, run.data.params, run.data.tags, rows, inputs, model.model_id, outputs, versions, files

    from nnray.data.splits import DataInfo

    tracker = MlflowTracker(store_uri, experiment="mine", spool=DiskSpool(folder))
    run = tracker.start_run(name="one", verb="train", params={"lr": 0.1}, tags={"who": "me"})
    tracker.log_dataset(run, DataInfo("digits", (4,), ("a",), digest="d" * 64), "training")
    tracker.log_metrics(run, [MetricRow("loss", 1.0 / step, step, step) for step in (1, 2, 3)])
    tracker.log_text(run, "hello", "note.txt")
    (folder.parent / "config.yaml").write_text("a: 1\n")
    tracker.log_artifact(run, folder.parent / "config.yaml")
    tracker.log_model(run, module=nn.Linear(4, 2), example=EXAMPLE, step=3, metrics={"loss": 1 / 3})
    tracker.register(run, "net")
    tracker.set_tags(run, {"who": "you"})
    tracker.end_run(run)
    assert tracker.flush(LONG_S) == 0
    lines = (folder / "entries.jsonl").read_bytes()
    assert tracker.close(LONG_S) == 0
    before = snapshot()
    for part in (lines, b"".join(lines.splitlines(keepends=True)[-3:])):
        (folder / "entries.jsonl").write_bytes(part)
        again = MlflowTracker(store_uri, experiment="mine", spool=DiskSpool(folder))
        assert again.close(LONG_S) == 0
        assert again.problems() == ()
        assert snapshot() == before


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("bang"),)


def hostile(secret: Path) -> list[Entry]:
    """What a stranger may write."""
    model = {"name": "model", "step": 0, "sha256": "", "time_ms": 1, "metrics": {}, "params": {}}
    return [
        Entry("artifact", "one", {"path": str(secret), "folder": ""}),
        Entry("artifact", "one", {"path": f"../{secret.name}", "folder": ""}),
        Entry("artifact", "one", {"path": "bomb.pkl", "folder": "../../.."}),
        Entry("artifact", "one", {"path": ["bomb.pkl"], "folder": ""}),
        Entry("text", "one", {"text": "x", "file": "../../../x.txt"}),
        Entry("model", "one", {**model, "folder": str(secret.parent)}),
        Entry("model", "one", {**model, "folder": "spool/model-link"}),
        Entry("model", "one", {**model, "folder": 5, "ticket": []}),
        Entry("metrics", "one", {"rows": 5}),
        Entry("metrics", "one", {"rows": [[1]]}),
        Entry("metrics", "one", {}),
        Entry("client", "one", {}),
        Entry("set_tags", "one", {}),
        Entry("__init__", "one", {}),
        Entry("start", "two", {}),
        Entry("end", "one", {"status": "NONSENSE", "time_ms": "x"}),
    ]


def test_a_strangers_spool_unpickles_nothing_and_sends_nothing_else(
    store_uri: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpickled(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(writer, "LAST_RETRY_S", 0.01)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("mine")
    spool = DiskSpool(folder)
    spool.address(uri=store_uri, experiment="mine")
    (folder.parent / "bomb.pkl").write_bytes(pickle.dumps(Bomb()))
    (folder / "model-link").symlink_to(secret)
    (folder / "model-bomb" / "data").mkdir(parents=True)
    for name in ("data/model.pth", "data/model.pt2", "python_model.pkl"):
        (folder / "model-bomb" / name).write_bytes(pickle.dumps(Bomb()))
    (folder / "model-bomb" / "MLmodel").write_text("!!python/object/apply:os.system ['touch bang']\n")
    start = {"name": "one", "verb": "train", "parent": None, "time_ms": 5, "tags": {}}
    bomb = {"name": "m", "step": 0, "sha256": "", "time_ms": 1, "metrics": {}, "params": {}}
    entries = [
        Entry("start", "one", start),
        Entry("model", "one", {**bomb, "folder": "spool/model-bomb"}),
        *hostile(secret / "key"),
        Entry("tags", "one", {"tags": {"last": "yes"}}),
    ]
    for entry in entries:
        spool.append(entry)
    spool.close()
    with monkeypatch.context() as patch:
        for name in ("load", "loads", "Unpickler"):
            patch.setattr(pickle, name, unpickled)
        patch.setattr(torch, "load", unpickled)
        patch.setattr(torch.export, "load", unpickled)
        tracker = MlflowTracker(store_uri, experiment="mine", spool=DiskSpool(folder))
        assert tracker.close(LONG_S) == 0
    assert len(tracker.problems()) >= len(hostile(secret)) - 1
    assert not (tmp_path / "bang").exists()
    assert (secret / "key").read_text() == "mine"
    sent = [path for path in (tmp_path / "mlruns").rglob("*") if path.is_file()]
    assert all(b"mine" not in path.read_bytes() for path in sent)
    from mlflow import MlflowClient

    client = MlflowClient(store_uri, store_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.data.tags["last"] == "yes"


@pytest.mark.parametrize("kind", ["client", "answers", "set_tags", "find", ""])
def test_no_kind_names_a_method_that_is_not_for_it(kind: str) -> None:
    assert kind not in KINDS
    with pytest.raises(Refused, match="no such kind"):
        MlflowStore(NOWHERE, "mine", artifacts=None, find=Path)(Entry(kind, "one", {}))


def test_every_kind_is_known_to_every_store() -> None:
    for store in (MlflowStore, MemoryTracker):
        assert all(hasattr(store, f"_{kind}") for kind in KINDS)


def test_a_folder_that_was_removed_meanwhile_stops_nothing(away: MlflowTracker, folder: Path) -> None:
    """A run that failed before it began leaves no folder."""
    run = away.start_run(name="one", verb="train")
    shutil.rmtree(folder.parent)
    away.set_tags(run, {"a": "b"})
    assert away.close(0) == 2


def test_a_second_process_does_not_get_the_spool(away: MlflowTracker, folder: Path) -> None:
    with pytest.raises(RunError, match="another process"):
        DiskSpool(folder)
    assert json.loads((folder / "spool.json").read_text())["uri"] == NOWHERE
    assert not disk_spool.unsent(folder)
