"""The tracker that writes to MLflow: any tracking URI, in a process of its own."""

from __future__ import annotations

from nnray.tracking.courier import Courier
from nnray.tracking.model_files import save_model
from nnray.tracking.recorder import Recorder
from nnray.tracking.spool import MemorySpool, Spool
from nnray.tracking.store import artifact_root, resolve_uri


class MlflowTracker(Recorder):
    """A tracker over an MLflow store.

    Args:
        uri: Of the store; where left out, ``$MLFLOW_TRACKING_URI``, else ``mlflow.db`` in this folder.
        experiment: Name of the MLflow experiment; made if it isn't there.
        spool: Where entries wait; in memory, where left out. What a ``DiskSpool`` holds goes out first.
    """

    def __init__(self, uri: str | None = None, *, experiment: str, spool: Spool | None = None) -> None:
        resolved = resolve_uri(uri)
        entries = MemorySpool() if spool is None else spool
        entries.address(uri=resolved, experiment=experiment)
        store = Courier(
            resolved, experiment, artifacts=artifact_root(resolved, experiment), root=entries.root
        )
        super().__init__(
            resolved, store, spool=entries, save=save_model, answers=store.answers, on_close=store.close
        )
