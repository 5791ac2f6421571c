"""A model in MLflow: sent from its files, found again, and registered, each once.

MLflow's own ``log_model`` works on the global store and the active run, so the steps are taken one by
one, with explicit ids. What is found twice, because a request that was given up was carried out after
all, is removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.errors import TrackingError
from nnray.tracking.mlmodel import fill_in
from nnray.tracking.spool import Entry
from nnray.tracking.tracker import ModelRecord, clean_name
from nnray.tracking.writer import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

MODEL_TAG = "nnray.model"
SHA_TAG = "nnray.sha256"
VERSIONS_TAG = "mlflow.modelVersions"
"""Links the page of a logged model to its registered versions."""


def log_model(
    client: MlflowClient,
    run_id: str,
    *,
    entry: Entry,
    folder: Path | None,
    rows: Mapping[str, Sequence[Metric]],
) -> ModelRecord:
    """Log a model of a run, or find the one that was logged under this name and step.

    Args:
        client: Of the store.
        run_id: Of the run that made the model.
        entry: What is to be logged.
        folder: The model's files; None if there are none.
        rows: Rows of the run that this process has sent, by metric; others are asked for.

    Raises:
        Refused: The model is neither there nor in its folder, or could not be written.
    """
    body = entry.body
    found = find_model(client, run_id, name=body["name"], step=body["step"])
    is_new = found is None
    if found is None or found.status != "READY":
        found = _send(client, run_id, entry, folder, found)
    if is_new or not _is_output(client, run_id, found.model_id):
        _show(client, run_id, found.model_id, step=body["step"])
    _link(client, run_id, entry, found.model_id, rows)
    return ModelRecord(f"models:/{found.model_id}", found.model_id, found.tags.get(SHA_TAG, ""))


def find_model(client: MlflowClient, run_id: str, *, name: str, step: int | None) -> LoggedModel | None:
    """The logged model of a run by name and step; the one of the highest step if that is left out."""
    found = _search(client, run_id, name)
    return found.get(max(found, default=0) if step is None else step)


def _search(client: MlflowClient, run_id: str, name: str) -> dict[int, LoggedModel]:
    """The models of a run by step; of twins that which is whole."""
    experiment_id = client.get_run(run_id).info.experiment_id
    where = f"source_run_id = '{run_id}' AND name = '{name}'"
    found = [m for m in client.search_logged_models([experiment_id], where) if MODEL_TAG in m.tags]
    ordered = sorted(found, key=lambda model: (model.status == "READY", model.model_id))
    for model in ordered:
        if model.status == "PENDING" and model is not _of_step(ordered, _step(model)):
            client.delete_logged_model(model.model_id)
    return {_step(model): model for model in ordered}


def _of_step(models: Sequence[LoggedModel], step: int) -> LoggedModel:
    return [model for model in models if _step(model) == step][-1]


def _step(model: LoggedModel) -> int:
    return int(model.tags[MODEL_TAG].rpartition("@")[2])


def register(client: MlflowClient, run_id: str, *, entry: Entry) -> str:
    """Register a run's model and point the alias at it; once, however often it is asked for."""
    body = entry.body
    model = find_model(client, run_id, name=body["model"], step=body["step"])
    if model is None or model.status == "FAILED":
        raise Refused(f"no model {body['model']!r} to register; log it first")
    if model.status != "READY":  # it was set aside: this goes the same way, and is tried again with it
        raise TrackingError(f"the model {body['model']!r} is not whole in the store")
    name = clean_name(body["name"]).replace("/", "_").replace(":", "_")
    if not any(known.name == name for known in client.search_registered_models(f"name = '{name}'")):
        new_name(client, name)
    if not (versions := _versions(client, name, model)):
        new_version(client, name, run_id=run_id, model=model)
        versions = _versions(client, name, model)
    for twin in versions[1:]:
        client.delete_model_version(name, str(twin))
    if body.get("moves", True) or not _is_held(client, name, body["alias"]):
        client.set_registered_model_alias(name, body["alias"], str(versions[0]))
    return str(versions[0])


def _is_held(client: MlflowClient, name: str, alias: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
    return True


def _versions(client: MlflowClient, name: str, model: LoggedModel) -> list[int]:
    known = client.search_model_versions(f"name = '{name}'")
    return sorted(int(v.version) for v in known if v.tags.get(MODEL_TAG) == model.model_id)


def new_name(client: MlflowClient, name: str) -> None:
    """Make a registered model, where another process has not done so meanwhile."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def new_version(client: MlflowClient, name: str, *, run_id: str, model: LoggedModel) -> None:
    """Make a version of a registered model, and show it on the model's page."""
    made = client.create_model_version(
        name,
        _source(client, model),
        run_id,
        tags={MODEL_TAG: model.model_id},
        await_creation_for=0,
        model_id=model.model_id,
    )
    shown = [*json.loads(model.tags.get(VERSIONS_TAG, "[]")), {"name": name, "version": made.version}]
    client.set_logged_model_tags(model.model_id, {VERSIONS_TAG: json.dumps(shown)})


def _source(client: MlflowClient, model: LoggedModel) -> str:
    """Where a version's files are: by the model's id, which the pages link to, where it can be.

    A data base's registry looks an id up in MLflow's global store; where that is not this one, the
    model's folder is given.
    """
    import mlflow

    if client.tracking_uri.startswith("http") or client.tracking_uri == mlflow.get_tracking_uri():
        return f"models:/{model.model_id}"
    return str(model.artifact_location)


def _send(
    client: MlflowClient, run_id: str, entry: Entry, folder: Path | None, found: LoggedModel | None
) -> LoggedModel:
    """Send the files of a model that is not in the store, or not whole."""
    body = entry.body
    if "problem" not in body and (folder is None or not (folder / "MLmodel").is_file()):
        raise Refused("its files are gone; resume the run to log it again")
    if found is None:
        found = client.create_logged_model(
            client.get_run(run_id).info.experiment_id,
            name=body["name"],
            source_run_id=run_id,
            tags={MODEL_TAG: f"{entry.run}/{body['name']}@{body['step']}", SHA_TAG: body["sha256"]},
            params=body["params"],
            model_type="classifier",
        )
    if "problem" in body:
        client.finalize_logged_model(found.model_id, "FAILED")
        raise Refused(body["problem"])
    assert folder is not None
    fill_in(folder, model_id=found.model_id, run_id=run_id, location=str(found.artifact_location))
    client.log_model_artifacts(found.model_id, str(folder))
    return client.finalize_logged_model(found.model_id, "READY")


def _show(client: MlflowClient, run_id: str, model_id: str, *, step: int) -> None:
    """Show the model among the run's outputs."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
    except MlflowException:
        if not _is_output(client, run_id, model_id):
            raise


def _link(
    client: MlflowClient, run_id: str, entry: Entry, model_id: str, rows: Mapping[str, Sequence[Metric]]
) -> None:
    """Give the model the run's own rows for its metrics."""
    from mlflow.entities import Metric

    step, time_ms = entry.body["step"], entry.body["time_ms"]
    linked = []
    for key, value in entry.body["metrics"].items():
        name = clean_name(key)
        own = _at(rows.get(name, ()), step) or _own_row(client.get_metric_history(run_id, name), step)
        own = own or Metric(name, value, time_ms, step)
        linked.append(Metric(name, own.value, own.timestamp, own.step, model_id=model_id, run_id=run_id))
    if linked:
        client.log_batch(run_id, metrics=linked, synchronous=True)


def _is_output(client: MlflowClient, run_id: str, model_id: str) -> bool:
    outputs = client.get_run(run_id).outputs
    return outputs is not None and any(output.model_id == model_id for output in outputs.model_outputs)


def _own_row(history: Sequence[Metric], step: int) -> Metric | None:
    """The row at a step, else the newest, so that no value is recorded twice."""
    return _at(history, step) or (history[-1] if history else None)


def _at(rows: Sequence[Metric], step: int) -> Metric | None:
    return next((row for row in rows if row.step == step), None)
