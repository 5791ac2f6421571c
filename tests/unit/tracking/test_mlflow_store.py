"""Entries in MLflow: where files go, what its pages see, and what is refused for good."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nnray.data.splits import DataInfo
from nnray.tracking import MetricRow, MlflowTracker
from nnray.tracking.mlflow_store import MlflowStore
from nnray.tracking.spool import Entry
from nnray.tracking.writer import Refused

LONG_S = 120.0


def client_of(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def test_mlflow_finds_the_runs_where_it_looks_by_default(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    tracker = MlflowTracker(experiment="mine")
    sweep = tracker.start_run(name="sweep", verb="sweep")
    for lr in (0.1, 0.2):
        trial = tracker.start_run(name=f"trial {lr}", verb="trial", parent=sweep, params={"lr": lr})
        tracker.log_metrics(trial, [MetricRow("loss", lr, 1, 5)])
    assert tracker.close(LONG_S) == 0
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    found = mlflow.search_runs(experiment_names=["mine"], output_format="list")
    parents = {run.info.run_id: run for run in found if "mlflow.parentRunId" not in run.data.tags}
    children = [run for run in found if run.info.run_id not in parents]
    assert len(parents) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == set(parents)
    assert {(run.data.params["lr"], run.data.metrics["loss"]) for run in children} == {
        ("0.1", 0.1),
        ("0.2", 0.2),
    }


def test_files_go_beside_the_data_base_in_this_folder(store_uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(store_uri, experiment="mine")
    run = tracker.start_run(name="one", verb="train")
    tracker.log_text(run, "a", "a.txt")
    run_id = tracker.run_id(run, LONG_S)
    assert tracker.close(LONG_S) == 0
    experiment = client_of(store_uri).get_experiment_by_name("mine")
    assert experiment.artifact_location == f"{tmp_path}/mlruns/mine"
    file = tmp_path / "mlruns" / "mine" / str(run_id) / "artifacts" / "a.txt"
    assert file.read_text() == "a"


def test_files_go_beside_the_data_base_wherever_the_command_is_given(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    shutil.copy(empty_store, tmp_path / "there" / "mlflow.db")
    monkeypatch.chdir(tmp_path / "here")
    tracker = MlflowTracker(f"sqlite:///{tmp_path}/there/mlflow.db", experiment="mine")
    tracker.log_text(tracker.start_run(name="one", verb="train"), "a", "a.txt")
    assert tracker.close(LONG_S) == 0
    assert len(list((tmp_path / "there" / "mlruns" / "mine").rglob("a.txt"))) == 1
    assert list((tmp_path / "here").iterdir()) == []


def test_a_deleted_experiment_is_named_and_not_written_to(store_uri: str) -> None:
    client = client_of(store_uri)
    client.delete_experiment(client.create_experiment("gone"))
    tracker = MlflowTracker(store_uri, experiment="gone")
    tracker.start_run(name="one", verb="train")
    assert tracker.close(LONG_S) == 0
    assert "experiment 'gone' is deleted" in tracker.problems()[0]


def test_a_model_whose_weights_are_lost_is_refused_and_can_be_logged_again(store_uri: str) -> None:
    store = MlflowStore(store_uri, "mine", artifacts=None, find=Path)
    start = {"name": "one", "verb": "train", "parent": None, "time_ms": 1, "tags": {}}
    store(Entry("start", "one", start))
    lost = {
        "name": "model",
        "step": 0,
        "folder": "/nowhere",
        "metrics": {},
        "params": {},
        "sha256": "",
        "time_ms": 1,
    }
    with pytest.raises(Refused, match="resume the run to log it again"):
        store(Entry("model", "one", lost))


def test_a_data_set_is_an_input_of_the_run_with_its_digest(store_uri: str) -> None:
    info = DataInfo("mnist", (1, 28, 28), tuple("0123456789"), digest="ab" * 32)
    tracker = MlflowTracker(store_uri, experiment="mine")
    run = tracker.start_run(name="one", verb="train")
    for _ in range(2):
        tracker.log_dataset(run, info, "training", num_examples=55_000)
    run_id = tracker.run_id(run, LONG_S)
    assert tracker.close(LONG_S) == 0
    (data,) = client_of(store_uri).get_run(run_id).inputs.dataset_inputs
    assert data.dataset.name == "mnist"
    assert info.digest.startswith(data.dataset.digest)
    assert json.loads(data.dataset.profile) == {
        "num_examples": 55_000, "classes": list("0123456789"), "digest": info.digest,
    }  # fmt: skip
    assert {tag.key: tag.value for tag in data.tags} == {"mlflow.data.context": "training"}
    import mlflow.data

    assert mlflow.data.get_source(data).to_dict()["tags"] == {"nnray.dataset": "mnist"}


def test_a_mistake_of_ours_is_refused_and_not_tried_for_ever(store_uri: str) -> None:
    store = MlflowStore(store_uri, "mine", artifacts=None, find=Path)
    with pytest.raises(Refused, match="KeyError"):
        store(Entry("start", "one", {}))
