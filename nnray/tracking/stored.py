"""A model as a store has it: found by any name that people have for it, and its files.

Files are read, never loaded: what they are taken for is decided by who asked. Those of a store on this
machine are read where they are.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nnray.errors import RunError, TrackingError
from nnray.tracking.client import make_client, prepare
from nnray.tracking.models import MODEL_TAG, SHA_TAG, find_model
from nnray.tracking.store import resolve_uri, sqlite_file
from nnray.tracking.tracker import RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StoredModel:
    """Where a model is, and whose.

    Args:
        uri: Of the store.
        model_id: The store's id of the model.
        location: Of its files.
        sha256: Of its weights, as recorded; empty where nnray did not log it.
        run_id: Of the run that made it.
        run: The run's key; empty where it has none.
        experiment: Name of the MLflow experiment.
        step: Epoch or round of its weights.
        name: It is registered under; empty where it was not asked for by one.
        version: Of that name.
    """

    uri: str
    model_id: str
    location: str
    sha256: str
    run_id: str
    run: str
    experiment: str
    step: int
    name: str = ""
    version: str = ""

    @property
    def model_uri(self) -> str:
        """What MLflow loads it by."""
        return f"models:/{self.model_id}"


def find_stored(reference: str, *, uri: str | None = None) -> StoredModel:
    """Find a model in a store.

    Args:
        reference: ``NAME@ALIAS``, ``NAME/VERSION``, ``NAME`` (its champion), a model's or a run's id, or one
            of these after ``models:/`` or ``runs:/``.
        uri: Of the store, as for a run.

    Raises:
        RunError: There is no such model.
        TrackingError: The store can't be asked.
    """
    resolved = resolve_uri(uri)
    file = sqlite_file(resolved)
    if file is not None and not file.exists():  # MLflow would make it
        raise RunError(
            f"no model {reference!r}: there is no store {resolved}; train a model first, or give the store "
            "with --tracking, or a model's folder"
        )
    plain = re.sub(r"^(models|runs):/*", "", reference).strip("/")
    return _asked(lambda: _find(make_client(resolved), plain, resolved), resolved, reference)


def fetch_files(model: StoredModel) -> Path:
    """The folder of a model's files: theirs, or a copy in a temporary one.

    Raises:
        TrackingError: They can't be read.
    """
    local = Path(model.location.removeprefix("file://"))
    if local.is_dir():
        return local

    def download() -> Path:
        from mlflow.artifacts import download_artifacts

        folder = tempfile.mkdtemp(prefix="nnray-model-")
        return Path(download_artifacts(artifact_uri=model.location, dst_path=folder, tracking_uri=model.uri))

    return _asked(download, model.uri, model.model_id)


def _find(client: MlflowClient, plain: str, uri: str) -> StoredModel:
    if _MODEL_ID.fullmatch(plain):
        return _stored(client, client.get_logged_model(plain), uri)
    if _RUN_ID.fullmatch(plain.split("/")[0]):
        run_id, _, name = plain.partition("/")
        found = find_model(client, run_id, name=name or "model", step=None)
        if found is None:
            raise RunError(
                f"the run {run_id} has no model {name or 'model'!r}: it has not ended, or it is a sweep: "
                "name the run of one of its trials, or the registered name"
            )
        return _stored(client, found, uri)
    version = _version(client, plain)
    # A data base's registry leaves the model's id out where it was asked for beside MLflow's global store.
    model_id = version.model_id or version.tags.get(MODEL_TAG) or _id_in(version.source or "")
    if not model_id:
        raise RunError(
            f"version {version.version} of {version.name!r} is no model of the store, but {version.source}: "
            "give that folder's path"
        )
    model = client.get_logged_model(model_id)
    return _stored(client, model, uri, name=version.name, version=str(version.version))


def _id_in(source: str) -> str:
    plain = source.removeprefix("models:/")
    return plain if _MODEL_ID.fullmatch(plain) else ""


def _version(client: MlflowClient, plain: str) -> ModelVersion:
    name, at, alias = plain.partition("@")
    if at:
        return client.get_model_version_by_alias(name, alias)
    name, slash, number = plain.rpartition("/")
    if slash and number.isdigit():
        return client.get_model_version(name, number)
    return client.get_model_version_by_alias(plain, "champion")


def _stored(
    client: MlflowClient, model: LoggedModel, uri: str, *, name: str = "", version: str = ""
) -> StoredModel:
    run = client.get_run(model.source_run_id) if model.source_run_id else None
    experiment = client.get_experiment(model.experiment_id)
    step = model.tags.get(MODEL_TAG, "").rpartition("@")[2]
    return StoredModel(
        uri=uri,
        model_id=model.model_id,
        location=str(model.artifact_location),
        sha256=model.tags.get(SHA_TAG, ""),
        run_id=model.source_run_id or "",
        run=run.data.tags.get(RUN_TAG, "") if run else "",
        experiment=experiment.name,
        step=int(step) if step.isdigit() else 0,
        name=name,
        version=version,
    )


def _asked(ask: Callable[[], T], uri: str, reference: str) -> T:
    """What the store answers, or an error that a person can use."""
    prepare()
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return ask()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise RunError(
                f"no model {reference!r} in {uri}: {error.message.rstrip('.')}; `nnray models` lists those "
                "that are registered, and a run goes by its folder or its id"
            ) from error
        raise TrackingError(f"{uri}: {error.message}") from error
    except (OSError, RequestException, SQLAlchemyError) as error:
        raise TrackingError(f"{uri} can't be asked for {reference!r}: {error}") from error
