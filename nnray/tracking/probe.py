"""Whether a store takes what it is sent: a run is written, read back and deleted."""

from __future__ import annotations

from dataclasses import dataclass

from nnray.errors import TrackingError
from nnray.tracking.client import make_client
from nnray.tracking.reasons import reason
from nnray.tracking.server import hidden
from nnray.tracking.store import check, sqlite_file

EXPERIMENT = "nnray-doctor"
"""Stays in the store: a deleted experiment's name can't be used again."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it.

    Args:
        uri: The store, without its password.
        problem: What it did not take; empty if it took all.
        is_new: Whether it is a file that the first run makes, so that nothing was written.
    """

    uri: str
    problem: str = ""
    is_new: bool = False


def probe(uri: str | None = None) -> Probed:
    """Write a metric and a file to a store, and read both back.

    Args:
        uri: As for ``tracking.uri``.
    """
    try:
        store = check(uri)
    except TrackingError as error:
        return Probed(hidden(uri or ""), str(error))
    file = sqlite_file(store.uri)
    if store.problem or (file is not None and not file.exists()):
        return Probed(hidden(store.uri), store.problem, is_new=not store.problem)
    try:
        _write(store.uri)
    except Exception as error:  # noqa: BLE001 (whatever MLflow, a driver or an artifact store raises is told)
        return Probed(
            hidden(store.uri), f"can't be written: {reason(error)}".replace(store.uri, hidden(store.uri))
        )
    return Probed(hidden(store.uri))


def _write(uri: str) -> None:
    client = make_client(uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    run = client.create_run(experiment).info.run_id
    try:
        client.log_metric(run, "probe", 1.0)
        if client.get_run(run).data.metrics != {"probe": 1.0}:
            raise TrackingError("a metric was taken, and is not there")
        client.log_text(run, "probe", "probe.txt")
        if [entry.path for entry in client.list_artifacts(run)] != ["probe.txt"]:
            raise TrackingError("a file was taken, and is not there")
    finally:
        client.delete_run(run)
