"""The kinds of tracker that the laws go over, each with a way to read back what it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch

from nnray.tracking import DiskSpool, MemoryTracker, MlflowTracker, Tracker
from nnray.tracking.models import MODEL_TAG


@dataclass(frozen=True, slots=True)
class Read:
    """What a store says of a run."""

    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    history: dict[str, list[tuple[int, int, float]]]
    files: dict[str, bytes]
    datasets: list[tuple[str, str]]
    parent: str | None
    start_ms: int
    end_ms: int | None


class Subject(Protocol):
    """A kind of tracker with a way to read back what it wrote."""

    def open(self) -> Tracker: ...
    def read(self, run_id: str) -> Read: ...
    def num_runs(self) -> int: ...
    def predict(self, uri: str, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...
    def alias(self, name: str, alias: str) -> tuple[str, int]: ...


class Memory:
    def __init__(self) -> None:
        self.tracker = MemoryTracker()

    def open(self) -> Tracker:
        return self.tracker

    def read(self, run_id: str) -> Read:
        run = self.tracker.runs[run_id]
        history: dict[str, list[tuple[int, int, float]]] = {}
        for row in run.rows:
            history.setdefault(row.key, []).append((row.step, row.time_ms, row.value))
        datasets = [(data["name"], data["context"]) for data in run.datasets]
        return Read(
            run.name, run.status, run.params, run.tags, history, run.files, datasets, run.parent,
            run.start_ms, run.end_ms,
        )  # fmt: skip

    def num_runs(self) -> int:
        return len(self.tracker.runs)

    def predict(self, uri: str, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        for run in self.tracker.runs.values():
            for at, record in run.models.items():
                if record.uri == uri:
                    return run.modules[at](torch.from_numpy(inputs)).detach().numpy()
        raise AssertionError(uri)

    def alias(self, name: str, alias: str) -> tuple[str, int]:
        return self.tracker.registered[name][alias], len(self.tracker.versions[name])


class Sqlite:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", self.uri)

    def open(self) -> Tracker:
        return MlflowTracker(self.uri, experiment="laws")

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    def read(self, run_id: str) -> Read:
        client = self._client()
        run = client.get_run(run_id)
        history = {
            key: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        }
        files = {
            name: Path(client.download_artifacts(run_id, name)).read_bytes()
            for name in self._files(run_id, "")
        }
        inputs = [(data.dataset.name, data.tags[0].value) for data in run.inputs.dataset_inputs]
        parent = run.data.tags.get("mlflow.parentRunId")
        info = run.info
        return Read(
            info.run_name, info.status, run.data.params, run.data.tags, history, files, inputs,
            client.get_run(parent).data.tags["nnray.run"] if parent else None, info.start_time, info.end_time,
        )  # fmt: skip

    def _files(self, run_id: str, folder: str) -> Iterator[str]:
        for file in self._client().list_artifacts(run_id, folder):
            if file.is_dir:
                yield from self._files(run_id, file.path)
            else:
                yield file.path

    def num_runs(self) -> int:
        client = self._client()
        return len(client.search_runs([client.get_experiment_by_name("laws").experiment_id]))

    def predict(self, uri: str, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import mlflow.pyfunc

        outputs: np.ndarray[Any, Any] = mlflow.pyfunc.load_model(uri).predict(inputs)
        return outputs

    def alias(self, name: str, alias: str) -> tuple[str, int]:
        client = self._client()
        version = client.get_model_version_by_alias(name, alias)
        return f"models:/{version.tags[MODEL_TAG]}", len(client.search_model_versions(f"name = '{name}'"))


class Spooled(Sqlite):
    """SQLite behind a spool on disk: each tracker has a run's folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self._folder, self._opened = folder, 0

    def open(self) -> Tracker:
        self._opened += 1
        spool = DiskSpool(self._folder / f"run {self._opened}" / "spool")
        return MlflowTracker(self.uri, experiment="laws", spool=spool)
