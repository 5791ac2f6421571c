"""A run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnray.runners.results import Result

if TYPE_CHECKING:
    from nnray.runners.outcome import Outcome


def report(
    run: str | Path | Result,
    *,
    root: str | Path = "runs",
    tracking: str | None = None,
    out: str | Path | None = None,
) -> Outcome:
    """Write a run's page: one HTML file that needs no network.

    Args:
        run: A run's folder, by name or path, or its MLflow id; or what a verb gave. It need not have ended.
        root: The folder of the runs' folders.
        tracking: The store, for a run whose folder is gone; None for this folder's.
        out: The file; None for ``report.html`` in the run's folder, or here where that is gone.

    Returns:
        What was written.

    Raises:
        RunError: There is no such run, or the file can't be written.
        TrackingError: The store can't be asked.
    """
    from nnray.runners.report.write import report as write

    reference = str(run.folder) if isinstance(run, Result) else str(run)
    return write(reference, root=Path(root), tracking=tracking, out=Path(out) if out else None)
