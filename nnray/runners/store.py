"""The store that a run is recorded in: looked at before, open meanwhile, drained after an outage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnray.config import Experiment
    from nnray.runners.folder import RunFolder
    from nnray.tracking import MlflowTracker

_DRAIN_S = 30.0
"""How long a verb waits for each earlier run whose records have not been sent."""


def prepare_store(experiment: Experiment, root: Path) -> None:
    """Refuse a store that can never be written to, and send it what earlier runs could not.

    One that is merely away holds nothing up: what is recorded waits in the run's folder.
    """
    from nnray.tracking import check

    store = check(experiment.tracking.uri)
    if store.problem:
        say(f"warning: {store.problem}; records wait in the run's folder, and `nnray sync` sends them")
    else:
        drain(root)


def drain(root: Path) -> None:
    """Send what earlier runs could not."""
    from nnray.runners import sync as runner

    if not runner.unsent(root):
        return
    say("sending what earlier runs could not record ...")
    for synced in runner.sync(root, timeout_s=_DRAIN_S):
        say(str(synced))


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def opened_tracker(experiment: Experiment, run: RunFolder) -> Iterator[MlflowTracker]:
    """The store that an experiment is recorded in, behind the run's spool."""
    from nnray.runners.sync import SPOOL
    from nnray.tracking import DiskSpool, MlflowTracker

    settings, spool = experiment.tracking, DiskSpool(run.path / SPOOL)
    uri = run.record.get("tracking_uri") or settings.uri  # a relative one belongs to where the run began
    try:
        tracker = MlflowTracker(uri, experiment=settings.experiment or experiment.name, spool=spool)
    except BaseException:
        spool.close()
        raise
    try:
        yield tracker
    except BaseException:
        if unsent := tracker.close():
            from nnray.runners.recording import waiting

            say(f"warning: {waiting(tracker, unsent)}")
        raise
    tracker.close()
