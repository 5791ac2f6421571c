"""Entries into MLflow, by explicit run ids, each as often as you like and stored once.

MLflow names runs and models itself, so a run carries its key as the tag ``nnray.run``, and a model
its run, name and step as ``nnray.model``: what is already there is found before anything is made.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import TrackingError
from nnray.tracking.client import make_client
from nnray.tracking.database import create_database
from nnray.tracking.runs import Runs, key_tag
from nnray.tracking.spool import KINDS, Entry
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
_MAX_CONNECTIONS = 10
"""What MLflow's client keeps open."""
_MOST_RUNS = 32
"""Runs whose rows are remembered: a model is often logged after its run has ended."""
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
        find: Finds a file that an entry names; None for what may not be read.
    """

    def __init__(
        self, uri: str, experiment: str, *, artifacts: str | None, find: Callable[[str], Path | None]
    ) -> None:
        self._uri, self._find = uri, find
        self._runs = Runs(experiment, artifacts=artifacts, is_remote=sqlite_file(uri) is None)
        self._made: MlflowClient | None = None
        self._rows: OrderedDict[str, dict[str, list[Metric]]] = OrderedDict()

    def __call__(self, entry: Entry, /) -> Any:
        """Deliver an entry.

        Raises:
            Refused: Trying again is of no use.
        """
        if entry.kind not in KINDS:
            raise Refused(f"no such kind of record; known: {', '.join(sorted(KINDS))}")
        client = self._client()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if entry.kind == "start":
                return self._start(client, entry.run, entry.body)
            return getattr(self, f"_{entry.kind}")(client, self._runs.get(client, entry.run), entry)
        except MlflowException as error:
            if error.error_code in _FINAL:
                raise Refused(str(error.message)) from error
            raise
        except FileNotFoundError as error:
            raise Refused(f"no such file: {error.filename}") from error
        except (OSError, SQLAlchemyError, Refused, TrackingError):
            raise
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {error}") from error

    def _client(self) -> MlflowClient:
        if self._made is None:
            if (file := sqlite_file(self._uri)) is not None:
                create_database(file)
            self._made = make_client(self._uri)
        return self._made

    def answers(self) -> bool:
        """Whether the store answers a question that needs nothing to be there.

        A server that fails an upload drops its connections, which are found out one at a time.
        """
        for _ in range(_MAX_CONNECTIONS):
            try:
                self._client().search_experiments(max_results=1)
            except Exception as error:  # noqa: BLE001 - any other failure is a no
                if "Connection aborted" not in str(error):
                    return False
            else:
                return True
        return False

    def _start(self, client: MlflowClient, key: str, body: Mapping[str, Any]) -> str:
        tags = clean_tags({**body["tags"], RUN_TAG: key_tag(key), "nnray.verb": body["verb"]})
        if body["parent"]:
            tags["mlflow.parentRunId"] = self._runs.get(client, body["parent"])
        found = self._runs.find(client, key)
        if found is None:
            return self._runs.make(client, key, name=body["name"], time_ms=body["time_ms"], tags=tags)
        client.update_run(found, status="RUNNING")
        self._set_tags(client, found, tags)
        return found

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
        self._rows.move_to_end(run_id)
        while len(self._rows) > _MOST_RUNS:
            self._rows.popitem(last=False)
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
        path = self._find(entry.body["path"])
        if path is None or not path.is_file():
            raise Refused(f"no such file in the run's folder: {entry.body['path']}")
        client.log_artifact(run_id, str(path), entry.body["folder"] or None)

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

        name, rows = entry.body.get("folder"), self._rows.get(run_id, {})
        folder = self._find(name) if name else None
        return log_model(client, run_id, entry=entry, folder=folder, rows=rows)

    def _register(self, client: MlflowClient, run_id: str, entry: Entry) -> str:
        from nnray.tracking.models import register

        return register(client, run_id, entry=entry)

    def _end(self, client: MlflowClient, run_id: str, entry: Entry) -> None:
        client.set_terminated(run_id, entry.body["status"], end_time=entry.body["time_ms"])
        self._runs.settle(client, entry.run)


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as MLflow takes them: clean names, values cut at its limit."""
    return {clean_name(key): value[:MAX_TAG_CHARS] for key, value in tags.items()}


def _batches(items: Iterator[Any], size: int) -> Iterator[Sequence[Any]]:
    while batch := list(islice(items, size)):
        yield batch
