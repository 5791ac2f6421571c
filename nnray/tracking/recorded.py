"""What a store has recorded of a run by now."""

from __future__ import annotations

from collections.abc import Iterable

from nnray.tracking.client import make_client


def newest(uri: str, run_id: str, *, names: Iterable[str]) -> dict[str, tuple[int, float]]:
    """The newest ``(step, value)`` of metrics of a run; those that it doesn't have are left out.

    Args:
        uri: Of the store.
        run_id: The store's own id of the run.
        names: Of the metrics.

    Returns:
        Nothing where the store can't say.
    """
    client = make_client(uri)
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        known = client.get_run(run_id).data.metrics
        rows = {name: client.get_metric_history(run_id, name) for name in names if name in known}
    except (MlflowException, RequestException, OSError):
        return {}
    return {name: (history[-1].step, history[-1].value) for name, history in rows.items() if history}
