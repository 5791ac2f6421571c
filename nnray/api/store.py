"""The store that runs are recorded in: seen, and sent what it missed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnray.runners.store import drain

if TYPE_CHECKING:
    from nnray.runners.sync import Synced


def ui(uri: str | None = None, *, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Open MLflow's UI on the store that runs are recorded in; returns when it is ended.

    Args:
        uri: The store; None for ``$MLFLOW_TRACKING_URI``, else that of the working folder.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        TrackingError: The port is taken, or the store can't be opened.
    """
    from nnray.tracking.ui import serve

    drain(Path("runs"))
    serve(uri, host=host, port=port)


def sync(root: str | Path = "runs") -> list[Synced]:
    """Send the tracking stores what runs could not: after an outage, or a kill.

    Args:
        root: The folder that holds the runs' folders.

    Returns:
        The runs that had something to send.
    """
    from nnray.runners.sync import sync as send

    return send(Path(root))
