"""One run a key, one model a step, one version a model, whatever was carried out twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from nnray.tracking import MetricRow, MlflowTracker
from nnray.tracking.mlflow_store import MlflowStore
from nnray.tracking.model_files import save_model
from nnray.tracking.models import MODEL_TAG
from nnray.tracking.recorder import Recorder
from nnray.tracking.runs import Runs
from nnray.tracking.spool import MemorySpool

LONG_S = 120.0
EXAMPLE = np.zeros((2, 4), np.float32)


@pytest.fixture
def client(store_uri: str) -> Any:
    from nnray.tracking.client import make_client

    return make_client(store_uri)


@pytest.fixture
def tracker(store_uri: str) -> Iterator[MlflowTracker]:
    made = MlflowTracker(store_uri, experiment="mine")
    yield made
    made.close(LONG_S)


def alive(client: Any, name: str = "mine") -> list[str]:
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return sorted(run.info.run_id for run in found)


def twin(client: Any, key: str) -> str:
    """What a request does that was given up and is carried out after all."""
    experiment = client.get_experiment_by_name("mine")
    made = client.create_run(experiment.experiment_id, tags={"nnray.run": key}, run_name="one")
    return str(made.info.run_id)


def test_a_twin_that_comes_later_is_gone_when_the_run_ends(
    store_uri: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server makes one that goes on with a request that was given up."""
    monkeypatch.setattr("nnray.tracking.mlflow_store.sqlite_file", lambda uri: None)
    store = MlflowStore(store_uri, "mine", artifacts=None, find=Path)
    tracker = Recorder(store_uri, store, spool=MemorySpool(), save=save_model)
    run = tracker.start_run(name="one", verb="train", params={"lr": 0.1})
    run_id = tracker.run_id(run, LONG_S)
    twin(client, "one")
    tracker.end_run(run)
    assert tracker.close(LONG_S) == 0
    assert alive(client) == [run_id]


def test_of_twins_the_one_with_the_record_is_taken(store_uri: str, client: Any) -> None:
    first = MlflowTracker(store_uri, experiment="mine")
    run = first.start_run(name="one", verb="train", params={"lr": 0.1})
    run_id = first.run_id(run, LONG_S)
    assert first.close(LONG_S) == 0
    for _ in range(3):
        twin(client, "one")
    later = MlflowTracker(store_uri, experiment="mine")
    assert later.run_id(run, LONG_S) == run_id
    assert later.close(LONG_S) == 0
    assert alive(client) == [run_id]


def test_a_run_with_a_record_is_never_removed(store_uri: str, client: Any) -> None:
    tracker = MlflowTracker(store_uri, experiment="mine")
    run = tracker.start_run(name="one", verb="train", params={"lr": 0.1})
    assert tracker.run_id(run, LONG_S)
    client.log_metric(twin(client, "one"), "loss", 0.5)
    tracker.end_run(run)
    assert tracker.close(LONG_S) == 0
    assert len(alive(client)) == 2


def test_an_experiment_that_another_process_makes_meanwhile_is_used(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, ask, made = Runs("mine", artifacts=None, is_remote=True), client.get_experiment_by_name, list[str]()

    def late(name: str) -> Any:
        found = ask(name)
        if not made:
            made.append(client.create_experiment(name))
        return found

    monkeypatch.setattr(client, "get_experiment_by_name", late)
    assert runs.find(client, "one") is None
    assert runs._in_experiment(client) == made[0]


def test_a_model_made_twice_is_there_once(tracker: MlflowTracker, client: Any) -> None:
    run = tracker.start_run(name="one", verb="train")
    run_id = tracker.run_id(run, LONG_S)
    experiment = client.get_experiment_by_name("mine").experiment_id
    for _ in range(2):
        client.create_logged_model(
            experiment, name="model", source_run_id=run_id, tags={MODEL_TAG: "one/model@3"}
        )
    record = tracker.log_model(run, module=nn.Linear(4, 2), example=EXAMPLE, step=3).result(LONG_S)
    (model,) = client.search_logged_models([experiment])
    assert model.model_id == record.model_id
    assert model.status == "READY"


def test_a_version_made_twice_is_there_once(tracker: MlflowTracker, client: Any) -> None:
    run = tracker.start_run(name="one", verb="train")
    record = tracker.log_model(run, module=nn.Linear(4, 2), example=EXAMPLE)
    assert tracker.register(run, "net").result(LONG_S) == "1"
    client.create_model_version(
        "net", record.result().uri, tracker.run_id(run), tags={MODEL_TAG: record.result().model_id}
    )
    assert tracker.register(run, "net").result(LONG_S) == "1"
    assert [v.version for v in client.search_model_versions("name = 'net'")] == [1]


def test_a_model_that_could_not_be_written_is_not_registered(tracker: MlflowTracker) -> None:
    run = tracker.start_run(name="one", verb="train")
    assert tracker.log_model(run, module=nn.Linear(3, 2), example=EXAMPLE).exception(LONG_S)
    registered = tracker.register(run, "net").exception(LONG_S)
    assert "no model 'model' to register" in str(registered)


def test_a_models_metrics_are_those_of_its_step_also_where_another_process_sent_them(
    store_uri: str, client: Any
) -> None:
    first = MlflowTracker(store_uri, experiment="mine")
    run = first.start_run(name="one", verb="train")
    first.log_metrics(run, [MetricRow("loss", 1.0 / step, step, step) for step in (1, 2)])
    assert first.close(LONG_S) == 0
    later = MlflowTracker(store_uri, experiment="mine")
    later.resume_run(run)
    later.log_metrics(run, [MetricRow("loss", 0.25, 4, 4)])
    record = later.log_model(
        run, module=nn.Linear(4, 2), example=EXAMPLE, step=2, metrics={"loss": 0.5}
    ).result(LONG_S)
    assert later.close(LONG_S) == 0
    shown = client.get_logged_model(record.model_id).metrics
    assert [(metric.key, metric.value, metric.step) for metric in shown] == [("loss", 0.5, 2)]


def test_two_threads_record_through_one_tracker(tracker: MlflowTracker, client: Any, tmp_path: Path) -> None:
    """The sweep's main thread, and that of its models."""
    sweep = tracker.start_run(name="sweep", verb="sweep")
    trials = [tracker.start_run(name=f"trial {n}", verb="trial", parent=sweep) for n in range(3)]
    logged: list[Any] = []

    def models() -> None:
        for number, trial in enumerate(trials):
            logged.append(tracker.log_model(trial, module=nn.Linear(4, 2), example=EXAMPLE, step=number))

    thread = threading.Thread(target=models)
    thread.start()
    for step in range(200):
        for trial in trials:
            tracker.log_metrics(trial, [MetricRow("loss", 1.0, step, step)])
    logged.append(tracker.log_model(sweep, module=nn.Linear(4, 2), example=EXAMPLE))
    thread.join()
    assert len({tracker.wait(each, LONG_S).uri for each in logged}) == 4
    for trial in trials:
        run_id = tracker.run_id(trial, LONG_S)
        history = client.get_metric_history(run_id, "loss")
        assert sorted(metric.step for metric in history) == list(range(200))
    assert tracker.problems() == ()
