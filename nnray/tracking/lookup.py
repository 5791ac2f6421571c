"""From the store's id of a run to our own key: people copy ids from MLflow's pages."""

from __future__ import annotations

from nnray.tracking.client import make_client
from nnray.tracking.tracker import RUN_TAG


def key_of(uri: str, run_id: str) -> str | None:
    """The key of a run, as ``Tracker.start_run`` gave it; None where the store doesn't know it, or is away.

    Args:
        uri: Of the store. It is asked, which imports MLflow.
        run_id: The store's own.
    """
    client = make_client(uri)
    from mlflow.exceptions import MlflowException

    try:
        key: str | None = client.get_run(run_id).data.tags.get(RUN_TAG)
    except MlflowException:
        return None
    return key
