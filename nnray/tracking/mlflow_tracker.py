"""The tracker that writes to MLflow: any tracking URI, in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnray.tracking.mlflow_store import MlflowStore
from nnray.tracking.recorder import Recorder
from nnray.tracking.spool import MemorySpool, Spool
from nnray.tracking.store import artifact_root, check, resolve_uri

if TYPE_CHECKING:
    from nnray.config import TrackingConfig

_logger = logging.getLogger("nnray")


class MlflowTracker(Recorder):
    """A tracker over an MLflow store.

    Args:
        uri: Of the store; where left out, ``$MLFLOW_TRACKING_URI``, else ``mlflow.db`` in this folder.
        experiment: Name of the MLflow experiment; made if it isn't there.
        spool: Where entries wait; in memory, where left out.
    """

    def __init__(self, uri: str | None = None, *, experiment: str, spool: Spool | None = None) -> None:
        resolved = resolve_uri(uri)
        artifacts = artifact_root(resolved, experiment)
        super().__init__(
            resolved,
            lambda models: MlflowStore(resolved, experiment, artifacts, models),
            spool=spool or MemorySpool(),
        )


@contextmanager
def open_tracker(config: TrackingConfig, *, name: str, timeout_s: float = 30.0) -> Iterator[MlflowTracker]:
    """The tracker that an experiment asks for, checked; all is sent, or accounted for, at the end.

    Args:
        config: The section ``tracking``.
        name: Of the experiment; the MLflow experiment's too, where ``config`` gives none.
        timeout_s: How long to wait at the end for a store that is slow or down.

    Raises:
        TrackingError: The store can't be used.
    """
    tracker = MlflowTracker(check(config.uri), experiment=config.experiment or name)
    try:
        yield tracker
    finally:
        tracker.close(timeout_s)
        for problem in tracker.problems():
            _logger.warning("tracking: %s", problem)
