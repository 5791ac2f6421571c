"""Runs read back from a store: what was asked for, what came of it, and the files that were kept.

Reading never makes anything in a store, a data base that isn't there least of all.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nnray.errors import RunError, TrackingError
from nnray.tracking.client import make_client, prepare
from nnray.tracking.runs import key_tag
from nnray.tracking.store import resolve_uri, sqlite_file
from nnray.tracking.tracker import RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_PAGE = 1000
"""Runs that are asked for at a time."""
_INFINITE = 1.7e308
"""MLflow stores infinities as numbers beyond this."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A value of a metric.

    Args:
        step: Epoch, round or trial.
        value: As it was recorded.
        time_ms: When.
    """

    step: int
    value: float
    time_ms: int


@dataclass(frozen=True, slots=True)
class ArchivedRun:
    """A run as a store has it.

    Args:
        run_id: The store's id.
        name: Its name.
        status: ``RUNNING``, ``FINISHED``, ``FAILED``, ``KILLED`` or ``SCHEDULED``.
        start_ms: When it began.
        end_ms: When it ended; 0 while it runs.
        params: What was asked for, by dotted path.
        tags: By name.
        metrics: The last value of each.
        data: Of its data: ``name``, ``digest``, ``num_examples``, ``classes``, as far as recorded.
    """

    run_id: str
    name: str
    status: str
    start_ms: int
    end_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    data: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Our own key of it; empty where nnray did not record it."""
        return self.tags.get(RUN_TAG, "")


class Archive:
    """The runs of one store.

    Args:
        uri: As for a run; None for this folder's.

    Raises:
        TrackingError: There is no such store.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = resolve_uri(uri)
        file = sqlite_file(self.uri)
        if file is not None and not file.is_file():
            raise TrackingError(f"no tracking store {file}: name the one that the run was recorded in")
        self._client = make_client(self.uri)

    def run(self, reference: str) -> ArchivedRun:
        """The run with that id, or that key.

        Raises:
            RunError: There is none.
            TrackingError: The store can't be asked.
        """
        if _RUN_ID.fullmatch(reference):
            return self._asked(lambda: _archived(self._client.get_run(reference)), reference)
        found = self._asked(partial(self._search, f'tags.`{RUN_TAG}` = "{key_tag(reference)}"', 2), reference)
        if not found:
            raise RunError(f"no run {reference!r} in {self.uri}: give its folder, or its id in MLflow")
        return found[0]

    def children(self, run_id: str) -> list[ArchivedRun]:
        """The runs nested in one, such as a sweep's trials; in the order in which they began."""
        where = f"tags.mlflow.parentRunId = '{run_id}'"
        found = self._asked(partial(self._search, where, _PAGE), run_id)
        return sorted(found, key=lambda run: (run.start_ms, run.name))

    def history(self, run_id: str, name: str) -> list[Measured]:
        """All values of a metric, in order; of a step that was recorded twice the last."""
        rows = self._asked(lambda: self._client.get_metric_history(run_id, name), run_id)
        latest = {row.step: row for row in sorted(rows, key=lambda row: row.timestamp)}
        return [
            Measured(step, _finite(latest[step].value), latest[step].timestamp) for step in sorted(latest)
        ]

    def files(self, run_id: str) -> list[str]:
        """Paths of all files that were recorded with a run."""
        return self._asked(lambda: sorted(_walk(self._client, run_id, None)), run_id)

    def read(self, run_id: str, path: str) -> bytes:
        """A file that was recorded with a run.

        Raises:
            TrackingError: It can't be read.
        """

        def download() -> bytes:
            with tempfile.TemporaryDirectory(prefix="nnray-") as folder:
                return Path(self._client.download_artifacts(run_id, path, folder)).read_bytes()

        return self._asked(download, path)

    def _search(self, where: str, most: int) -> list[ArchivedRun]:
        experiments = [e.experiment_id for e in self._client.search_experiments()]
        found: list[Run] = []
        token: str | None = None
        while experiments:
            page = self._client.search_runs(experiments, where, max_results=most, page_token=token)
            found += page
            token = page.token
            if not token:
                break
        return [_archived(run) for run in found]

    def _asked(self, ask: Callable[[], T], what: str) -> T:
        """What the store answers, or an error that a person can use."""
        prepare()
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            return ask()
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise RunError(f"no {what!r} in {self.uri}: {error.message}") from error
            raise TrackingError(f"{self.uri} can't be read: {error.message}") from error
        except (OSError, RequestException) as error:
            raise TrackingError(f"{self.uri} can't be read for {what!r}: {error}") from error


def _archived(run: Run) -> ArchivedRun:
    return ArchivedRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        start_ms=run.info.start_time or 0,
        end_ms=run.info.end_time or 0,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics={name: _finite(value) for name, value in run.data.metrics.items()},
        data=_data(run),
    )


def _data(run: Run) -> Mapping[str, Any]:
    inputs: Sequence[Any] = run.inputs.dataset_inputs if run.inputs else ()
    for each in inputs:
        try:
            profile = json.loads(each.dataset.profile or "{}")
        except ValueError:
            profile = {}
        if isinstance(profile, dict):
            return {"name": each.dataset.name, "digest": each.dataset.digest} | profile
    return {}


def _walk(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _walk(client, run_id, entry.path)
        else:
            yield entry.path


def _finite(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) > _INFINITE else value
