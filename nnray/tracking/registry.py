"""The registered models of a store: listed, registered and pointed to, each change once.

A list asks the store for names and versions in pages, and for each version's run and model. Of weights
that stand on this machine only the head of the file is read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import RunError, TrackingError, suggestion
from nnray.tracking.client import make_client, prepare
from nnray.tracking.mlflow_store import clean_tags
from nnray.tracking.models import MODEL_TAG, SHA_TAG, new_name, new_version
from nnray.tracking.store import sqlite_file
from nnray.tracking.tracker import RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

_PAGE = 200
_MOST_HEAD_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model.

    Args:
        name: It is registered under.
        version: Its number.
        aliases: That point to it.
        made_ms: When it was registered.
        model_id: The store's id of the model; empty where it is none of the store's.
        run_id: Of the run that made it; empty where there is none.
        run: Our key of that run, or else the run's name.
        sha256: Of the weights; empty where nnray did not log it.
        num_weights: Numbers in its file of weights; None where that is not on this machine.
        metrics: Of its weights, and what was found out about it since.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    made_ms: int
    model_id: str
    run_id: str
    run: str = ""
    sha256: str = ""
    num_weights: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """What every verb takes it by."""
        return f"{self.name}/{self.version}"


def list_models(uri: str, name: str | None = None) -> list[Version]:
    """The versions of registered models, newest first; a store that isn't there is not made.

    Args:
        uri: Of the store, absolute.
        name: Of one registered model; None for all.

    Raises:
        RunError: There is no such name.
        TrackingError: The store can't be asked.
    """
    found = list(_bare(uri, name))
    if not found:
        return []
    with _client(uri) as client:
        return [_with_details(client, version) for version in found]


def holder_of(uri: str, name: str, *, alias: str) -> Version | None:
    """The version that an alias points to; None where there is none yet.

    Raises:
        TrackingError: The store can't be asked.
    """
    return next((v for v in _versions(uri) if v.name == name and alias in v.aliases), None)


def versions_of(uri: str, model_id: str) -> list[Version]:
    """The versions that a logged model has, under all names, newest first.

    Raises:
        TrackingError: The store can't be asked.
    """
    return [version for version in _versions(uri) if version.model_id == model_id]


def register_model(uri: str, name: str, *, model_id: str) -> Version:
    """Register a logged model under a name; the version that it has there already is given as it is.

    Raises:
        TrackingError: The store can't be asked, or refuses.
    """

    def known() -> Version | None:
        # Of twins, which a request that was given up can leave behind, the first counts.
        mine = [version for version in versions_of(uri, model_id) if version.name == name]
        return min(mine, key=lambda version: version.version, default=None)

    if (found := known()) is not None:
        return found
    with _client(uri) as client:
        model = client.get_logged_model(model_id)
        new_name(client, name)
        new_version(client, name, run_id=model.source_run_id or "", model=model)
    made = known()
    assert made is not None
    return made


def set_alias(version: Version, alias: str, *, uri: str) -> None:
    """Point an alias to a version, wherever it pointed before.

    Raises:
        TrackingError: The store can't be asked, or refuses.
    """
    with _client(uri) as client:
        client.set_registered_model_alias(version.name, alias, str(version.version))


def tag_run(uri: str, run_id: str, *, tags: Mapping[str, str]) -> None:
    """Set tags of a run by its id.

    Raises:
        TrackingError: The store can't be asked, or refuses.
    """
    with _client(uri) as client:
        for key, value in clean_tags(tags).items():
            client.set_tag(run_id, key, value)


def _bare(uri: str, name: str | None) -> Iterable[Version]:
    """The versions of a name, or of all."""
    versions = _versions(uri)
    if name is None:
        return versions
    names = {version.name for version in versions}
    if name not in names:
        advice = suggestion(name, names) if names else "none is; `nnray train FILE` registers what it trains"
        raise RunError(f"no model is registered as {name!r} in {uri}; {advice}")
    return [version for version in versions if version.name == name]


def _versions(uri: str) -> list[Version]:
    """All versions, newest first, with what the registry itself knows of them."""
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return []  # MLflow would make it
    with _client(uri) as client:
        aliases = {known.name: known.aliases for known in _pages(client.search_registered_models)}
        found = [
            _of(version, aliases.get(version.name, {})) for version in _pages(client.search_model_versions)
        ]
    return sorted(found, key=lambda version: (version.made_ms, version.version), reverse=True)


def _of(version: ModelVersion, aliases: Mapping[str, Any]) -> Version:
    source = (version.source or "").removeprefix("models:/")
    model_id = version.model_id or version.tags.get(MODEL_TAG) or (source if source.startswith("m-") else "")
    return Version(
        name=version.name,
        version=int(version.version),
        aliases=tuple(
            sorted(alias for alias, number in aliases.items() if int(number) == int(version.version))
        ),
        made_ms=int(version.creation_timestamp or 0),
        model_id=model_id,
        run_id=version.run_id or "",
    )


def _with_details(client: MlflowClient, version: Version) -> Version:
    """Add what the run and the model know; either may have been deleted since."""
    run = _unless_gone(lambda: client.get_run(version.run_id)) if version.run_id else None
    model = _unless_gone(lambda: client.get_logged_model(version.model_id)) if version.model_id else None
    metrics = dict(run.data.metrics) if run is not None else {}
    if model is not None:  # its own rows are those of the epoch that its weights are of
        metrics |= {m.key: m.value for m in sorted(model.metrics or [], key=lambda m: (m.step, m.timestamp))}
    return replace(
        version,
        run=(run.data.tags.get(RUN_TAG) or run.info.run_name or "") if run is not None else "",
        sha256=model.tags.get(SHA_TAG, "") if model is not None else "",
        num_weights=_num_weights(model) if model is not None else None,
        metrics=metrics,
    )


def _num_weights(model: LoggedModel) -> int | None:
    """How many numbers a file of safetensors says that it holds; None where it can't be read here."""
    path = Path(str(model.artifact_location).removeprefix("file://")) / "weights.safetensors"
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(min(length, _MOST_HEAD_BYTES)))
        shapes = [tensor["shape"] for name, tensor in head.items() if name != "__metadata__"]
        return sum(int(prod(shape)) for shape in shapes)
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return None


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _unless_gone(ask: Callable[[], Any]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return None
        raise


@contextmanager
def _client(uri: str) -> Iterator[MlflowClient]:
    """A client; what goes wrong with it becomes an error that a person can use."""
    prepare()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield make_client(uri)
    except MlflowException as error:
        raise TrackingError(f"{uri}: {error.message}") from error
    except (OSError, SQLAlchemyError) as error:
        raise TrackingError(
            f"{uri} can't be asked: {error}; `nnray doctor --tracking URI` looks why"
        ) from error
