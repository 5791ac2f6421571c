"""Entries into MLflow, by explicit run ids, each as often as you like and stored once.

MLflow names runs and models itself, so a run carries its key as the tag ``nnray.run``, and a model
its run, name and step as ``nnray.model``: what is already there is found before anything is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.tracking.client import make_client
from nnray.tracking.database import create_database
from nnray.tracking.recorder import HeldModel
from nnray.tracking.spool import Entry
from nnray.tracking.store import sqlite_file
from nnray.tracking.tracker import RUN_TAG, ModelRecord, clean_name
from nnray.tracking.writer import MAX_ROWS, Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

MAX_PARAM_CHARS = 6_000
MAX_TAG_CHARS = 8_000
MAX_PARAMS = 100
_MAX_DIGEST_CHARS = 36
_FINAL = {
    "ALREADY_EXISTS",
    "BAD_REQUEST",
    "ENDPOINT_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}


class MlflowStore:
    """Delivers entries to one MLflow store. Used by one thread.

    Args:
        uri: Of the store, absolute.
        experiment: Name of the MLflow experiment.
        artifacts: Where a new experiment keeps its files; None for the store's own default.
        models: Models that wait to be written, by folder.
    """

    def __init__(
        self, uri: str, experiment: str, artifacts: str | None, models: Mapping[str, HeldModel]
    ) -> None:
        self._uri, self._experiment, self._artifacts, self._models = uri, experiment, artifacts, models
        self._made: MlflowClient | None = None
        self._in_experiment: str | None = None
        self._ids: dict[str, str] = {}
        self._rows: dict[str, dict[str, list[Metric]]] = {}

    def __call__(self, entry: Entry, /) -> Any:
        """Deliver an entry.

        Raises:
            Refused: Trying again is of no use.
        """
        client = self._client()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if entry.kind == "start":
                return self._start(client, entry.run, entry.body)
            return getattr(self, f"_{entry.kind}")(client, self._id_of(client, entry.run), entry)
        except MlflowException as error:
            if error.error_code in _FINAL:
                raise Refused(str(error.message)) from error
            raise
        except FileNotFoundError as error:
            raise Refused(f"no such file: {error.filename}") from error
        except (OSError, SQLAlchemyError, Refused):
            raise
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {error}") from error

    def _client(self) -> MlflowClient:
        if self._made is None:
            if (file := sqlite_file(self._uri)) is not None:
                create_database(file)
            self._made = make_client(self._uri)
        return self._made

    def _experiment_id(self, client: MlflowClient) -> str:
        if self._in_experiment is None:
            found = client.get_experiment_by_name(self._experiment)
            if found is not None and found.lifecycle_stage != "active":
                raise Refused(f"experiment {self._experiment!r} is deleted in {self._uri}; restore it")
            self._in_experiment = (
                found.experiment_id
                if found is not None
                else client.create_experiment(self._experiment, artifact_location=self._artifacts)
            )
        return self._in_experiment

    def _find(self, client: MlflowClient, key: str) -> str | None:
        if key not in self._ids:
            where = f'tags.`{RUN_TAG}` = "{_key_tag(key)}"'
            for run in client.search_runs([self._experiment_id(client)], where, max_results=1):
                self._ids[key] = run.info.run_id
        return self._ids.get(key)

    def _id_of(self, client: MlflowClient, key: str) -> str:
        run_id = self._find(client, key)
        if run_id is None:
            raise Refused(f"experiment {self._experiment!r} has no run with the tag {RUN_TAG} = {key!r}")
        return run_id

    def _start(self, client: MlflowClient, key: str, body: Mapping[str, Any]) -> str:
        tags = clean_tags({**body["tags"], RUN_TAG: _key_tag(key), "nnray.verb": body["verb"]})
        if body["parent"]:
            tags["mlflow.parentRunId"] = self._id_of(client, body["parent"])
        found = self._find(client, key)
        if found is None:
            made = client.create_run(
                self._experiment_id(client), start_time=body["time_ms"], tags=tags, run_name=body["name"]
            )
            self._ids[key] = made.info.run_id
        else:
            client.update_run(found, status="RUNNING")
            self._set_tags(client, found, tags)
        return self._ids[key]

    def _resume(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        client.update_run(run_id, status="RUNNING")

    def _id(self, client: MlflowClient, run_id: str, entry: Entry) -> str:
        return run_id

    def _metrics(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Metric

        rows = [Metric(key, value, time_ms, step) for key, value, step, time_ms in entry.body["rows"]]
        for batch in _batches(iter(rows), MAX_ROWS):
            client.log_batch(run_id, metrics=batch, synchronous=True)
        of_run = self._rows.setdefault(run_id, {})
        for row in rows:
            of_run.setdefault(row.key, []).append(row)

    def _params(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Param

        params = (Param(key, value[:MAX_PARAM_CHARS]) for key, value in entry.body["params"].items())
        for batch in _batches(params, MAX_PARAMS):
            client.log_batch(run_id, params=batch, synchronous=True)

    def _tags(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        self._set_tags(client, run_id, clean_tags(entry.body["tags"]))

    def _set_tags(self, client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for batch in _batches((RunTag(key, value) for key, value in tags.items()), MAX_PARAMS):
            client.log_batch(run_id, tags=batch, synchronous=True)

    def _artifact(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        if not Path(entry.body["path"]).is_file():
            raise Refused(f"no such file: {entry.body['path']}")
        client.log_artifact(run_id, entry.body["path"], entry.body["folder"] or None)

    def _text(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        client.log_text(run_id, entry.body["text"], entry.body["file"])

    def _dataset(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        body = entry.body
        shape = [-1, *body["input_shape"]]
        features = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": shape}}
        targets = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
        schema = {"features": json.dumps([features]), "targets": json.dumps([targets])}
        dataset = Dataset(
            name=body["name"],
            digest=body["digest"][:_MAX_DIGEST_CHARS],
            source_type="code",
            source=json.dumps({"tags": {"nnray.dataset": body["name"]}}),
            schema=json.dumps({"mlflow_tensorspec": schema}),
            profile=json.dumps({k: body[k] for k in ("num_examples", "classes", "digest")}),
        )
        tag = InputTag("mlflow.data.context", body["context"])
        client.log_inputs(run_id, [DatasetInput(dataset, [tag])])

    def _model(self, client: MlflowClient, run_id: str, entry: Entry) -> ModelRecord:
        from nnray.tracking.models import log_model

        held, rows = self._models.get(entry.body["folder"]), self._rows.get(run_id, {})
        return log_model(client, run_id, entry=entry, held=held, rows=rows)

    def _register(self, client: MlflowClient, run_id: str, entry: Entry) -> str:
        from nnray.tracking.models import register

        return register(client, run_id, entry=entry)

    def _end(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        client.set_terminated(run_id, entry.body["status"], end_time=entry.body["time_ms"])
        self._rows.pop(run_id, None)


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as MLflow takes them: clean names, values cut at its limit."""
    return {clean_name(key): value[:MAX_TAG_CHARS] for key, value in tags.items()}


def _key_tag(key: str) -> str:
    """A key as a tag's value: MLflow's filters know no escapes, so one kind of quote has to go."""
    return key.replace('"', "'")


def _batches(items: Iterator[Any], size: int) -> Iterator[Sequence[Any]]:
    while batch := list(islice(items, size)):
        yield batch
