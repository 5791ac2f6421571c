"""A model in MLflow: written without inferring requirements, and loadable at any batch size.

The format is ``pt2``, a traced graph with a free batch dimension, which never unpickles anything. Its
signature is a float32 tensor ``[-1, ...]`` to ``[-1, K]``. MLflow's own ``log_model`` works on the
global store and the active run, so the steps are taken one by one, with explicit ids.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import IncompatibleModel
from nnray.tracking.recorder import HeldModel
from nnray.tracking.spool import Entry
from nnray.tracking.tracker import ModelRecord, clean_name
from nnray.tracking.writer import Refused

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric
    from mlflow.models import Model
    from numpy.typing import NDArray
    from torch import nn

MODEL_TAG = "nnray.model"
SHA_TAG = "nnray.sha256"
VERSIONS_TAG = "mlflow.modelVersions"
"""Links the page of a logged model to its registered versions."""


def log_model(
    client: MlflowClient,
    run_id: str,
    *,
    entry: Entry,
    held: HeldModel | None,
    rows: Mapping[str, Sequence[Metric]],
) -> ModelRecord:
    """Log a model of a run, or find the one that was logged under this name and step.

    Args:
        client: Of the store.
        run_id: Of the run that made the model.
        entry: What is to be logged.
        held: The module; None if it went with an earlier process.
        rows: Rows of the run that this process has sent, by metric; others are asked for.

    Raises:
        Refused: The model is neither there nor held, or can't be written.
    """
    body = entry.body
    found = find_model(client, run_id, name=body["name"], step=body["step"])
    if found is None or found.status != "READY":
        if held is None:
            raise Refused("its weights went with the process that had them; resume the run to log it again")
        found = _write(client, run_id, entry, held, found)
    _link(client, run_id, entry, found.model_id, rows)
    return ModelRecord(f"models:/{found.model_id}", found.model_id, found.tags.get(SHA_TAG, ""))


def find_model(client: MlflowClient, run_id: str, *, name: str, step: int | None) -> LoggedModel | None:
    """The logged model of a run by name and step; the one of the highest step if that is left out."""
    experiment_id = client.get_run(run_id).info.experiment_id
    where = f"source_run_id = '{run_id}' AND name = '{name}'"
    found = client.search_logged_models([experiment_id], where)
    steps = {
        int(model.tags[MODEL_TAG].rpartition("@")[2]): model for model in found if MODEL_TAG in model.tags
    }
    return steps.get(max(steps, default=0) if step is None else step)


def register(client: MlflowClient, run_id: str, *, entry: Entry) -> str:
    """Register a run's model and point the alias at it; once, however often it is asked for."""
    body = entry.body
    model = find_model(client, run_id, name=body["model"], step=body["step"])
    if model is None:
        raise Refused(f"no model {body['model']!r} to register; log it first")
    name = clean_name(body["name"]).replace("/", "_").replace(":", "_")
    if not any(known.name == name for known in client.search_registered_models(f"name = '{name}'")):
        client.create_registered_model(name)
    known = client.search_model_versions(f"name = '{name}'")
    version = next((v.version for v in known if v.tags.get(MODEL_TAG) == model.model_id), None)
    if version is None:
        version = _new_version(client, run_id, name, model)
    client.set_registered_model_alias(name, body["alias"], version)
    return str(version)


def _new_version(client: MlflowClient, run_id: str, name: str, model: LoggedModel) -> str:
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
    return str(made.version)


def _source(client: MlflowClient, model: LoggedModel) -> str:
    """Where a version's files are: by the model's id, which the pages link to, where it can be.

    A data base's registry looks an id up in MLflow's global store; where that is not this one, the
    model's folder is given.
    """
    import mlflow

    if client.tracking_uri.startswith("http") or client.tracking_uri == mlflow.get_tracking_uri():
        return f"models:/{model.model_id}"
    return str(model.artifact_location)


def save_model(module: nn.Module, example: NDArray[np.float32], *, folder: Path, model: Model) -> None:
    """Write a module as an MLflow model: pt2, signature, input example, pinned requirements.

    Raises:
        IncompatibleModel: ``torch.export`` can't trace the module with a free batch dimension.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _export(module, example, folder, model)
        _compare(module, example, folder)
    except OSError:
        raise
    except Exception as error:
        if "PytorchStreamWriter" in str(error):
            raise OSError(f"can't write the model: {error}") from error
        raise IncompatibleModel(
            "torch.export",
            [f"{type(module).__name__}: {(str(error).strip() or repr(error)).splitlines()[0]}"],
            "Give forward() no Python branches on values or on the batch size.",
        ) from error


def _export(module: nn.Module, example: NDArray[np.float32], folder: Path, model: Model) -> None:
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    with torch.no_grad():
        outputs = module(torch.from_numpy(example))
    inside, outside = (TensorSpec(np.dtype("float32"), (-1, *x.shape[1:])) for x in (example, outputs))
    mlflow.pytorch.save_model(
        module,
        str(folder),
        mlflow_model=model,
        signature=ModelSignature(Schema([inside]), Schema([outside])),
        input_example=example,
        pip_requirements=list(requirements()),
        serialization_format="pt2",
    )


def _compare(module: nn.Module, example: NDArray[np.float32], folder: Path) -> None:
    """See that what was written gives what the module gives, whatever the batch size."""
    import numpy as np
    import torch

    written = torch.export.load(folder / "data" / "model.pt2").module()
    for batch in (1, 7):
        inputs = torch.from_numpy(np.resize(example, (batch, *example.shape[1:])))
        with torch.no_grad():
            torch.testing.assert_close(written(inputs), module(inputs), rtol=1e-4, atol=1e-5)


@cache
def requirements() -> tuple[str, ...]:
    """What loading a model takes, pinned to what is installed."""
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", "torch", "numpy"))


def _write(
    client: MlflowClient, run_id: str, entry: Entry, held: HeldModel, found: LoggedModel | None
) -> LoggedModel:
    from mlflow.models import Model

    body, folder = entry.body, Path(entry.body["folder"])
    module = held.module.cpu().eval()
    if found is None:
        tags = {MODEL_TAG: f"{entry.run}/{body['name']}@{body['step']}", SHA_TAG: body["sha256"]}
        found = client.create_logged_model(
            client.get_run(run_id).info.experiment_id,
            name=body["name"],
            source_run_id=run_id,
            tags=tags,
            params=body["params"],
            model_type="classifier",
        )
    described: Any = Model(
        artifact_path=found.artifact_location,
        model_uuid=found.model_id,
        run_id=run_id,
        model_id=found.model_id,
    )
    try:
        save_model(module, held.example, folder=folder, model=described)
    except IncompatibleModel as error:
        client.finalize_logged_model(found.model_id, "FAILED")
        raise Refused(str(error)) from error
    client.log_model_artifacts(found.model_id, str(folder))
    return client.finalize_logged_model(found.model_id, "READY")


def _link(
    client: MlflowClient, run_id: str, entry: Entry, model_id: str, rows: Mapping[str, Sequence[Metric]]
) -> None:
    """Show the model among the run's outputs, with the run's own rows for its metrics."""
    from mlflow.entities import LoggedModelOutput, Metric

    step, time_ms = entry.body["step"], entry.body["time_ms"]
    outputs = client.get_run(run_id).outputs
    if outputs is None or all(output.model_id != model_id for output in outputs.model_outputs):
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
    linked = []
    for key, value in entry.body["metrics"].items():
        name = clean_name(key)
        history = rows.get(name) or client.get_metric_history(run_id, name)
        own = _own_row(history, step) or Metric(name, value, time_ms, step)
        linked.append(Metric(name, own.value, own.timestamp, own.step, model_id=model_id, run_id=run_id))
    if linked:
        client.log_batch(run_id, metrics=linked, synchronous=True)


def _own_row(history: Sequence[Metric], step: int) -> Metric | None:
    """The row at a step, else the newest, so that no value is recorded twice."""
    return next((row for row in history if row.step == step), history[-1] if history else None)
