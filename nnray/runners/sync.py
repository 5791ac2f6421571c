"""Send what earlier runs could not: the spools of all runs that no process is at.

Which store a spool's records are for stands in the spool, so that nothing else of the run is read: not
its experiment, and no module that this names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnray.errors import NnrayError, RunError
from nnray.runners.folder import RunFolder, runs
from nnray.tracking import DiskSpool, MlflowTracker, disk_spool

SPOOL = "spool"
"""The folder of a run's spool, in the run's."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What became of the records of a run.

    Args:
        run: Its name.
        sent: How many records the store has now.
        left: How many still wait.
        problem: Why they do, or what the store refused; empty if all went well.
    """

    run: str
    sent: int
    left: int
    problem: str

    def __str__(self) -> str:
        left = f", {self.left} still wait" if self.left else ""
        return f"{self.run}: {self.sent} records sent{left}{f': {self.problem}' if self.problem else ''}"


def unsent(root: Path) -> bool:
    """Whether a run in a folder has records to send, and no process at it; quick."""
    return any(disk_spool.unsent(path) for path in root.glob(f"[!.]*/{SPOOL}"))


def sync(root: Path, *, timeout_s: float = 60.0) -> list[Synced]:
    """Send the records of all runs in a folder that no process is at, oldest run first.

    Args:
        root: The folder that holds the runs' folders.
        timeout_s: How long each run may take; a store that is away is given up after some seconds.

    Returns:
        The runs that had something to send.
    """
    return list(_synced(root, timeout_s))


def _synced(root: Path, timeout_s: float) -> Iterator[Synced]:
    for run in reversed(list(runs(root))):
        spool = run.path / SPOOL
        if not (disk_spool.unsent(spool) or disk_spool.refused(spool)):
            continue
        try:
            with run.held():
                synced = _sync(run, timeout_s)
        except RunError:  # its own process sends them
            continue
        yield synced


def _sync(run: RunFolder, timeout_s: float) -> Synced:
    try:
        spool = DiskSpool(run.path / SPOOL)
    except RunError as error:
        return Synced(run.name, 0, 0, str(error))
    try:
        spool.retry()
        count = len(spool)
        tracker = _tracker(run, spool)
    except NnrayError as error:
        spool.close()
        return Synced(run.name, 0, len(spool), str(error))
    left = tracker.close(timeout_s)
    return Synced(run.name, count - left, left, "; ".join(tracker.problems()))


def _tracker(run: RunFolder, spool: DiskSpool) -> MlflowTracker:
    about = disk_spool.read_about(spool.folder)
    uri, experiment = about.get("uri"), about.get("experiment")
    if not (isinstance(uri, str) and isinstance(experiment, str)):
        raise RunError(f"{spool.folder} does not say which store its records are for: resume {run.name}")
    return MlflowTracker(uri, experiment=experiment, spool=spool)
