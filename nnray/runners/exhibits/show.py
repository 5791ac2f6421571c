"""Record what a task shows: after each epoch where training is to be watched, and of the model at its end."""

from __future__ import annotations

from torch import nn

from nnray.config import Experiment
from nnray.data.splits import DataSplits
from nnray.durable import write_bytes
from nnray.runners.exhibits.make import exhibits, file_name, is_of_epoch, keep
from nnray.runners.folder import EXHIBITS, RunFolder
from nnray.tracking import Tracker
from nnray.training.storage import LocalFolder, RemoteFolder


def record(
    tracker: Tracker,
    run: str,
    *,
    storage: LocalFolder | RemoteFolder,
    folder: RunFolder,
    epoch: int | None = None,
) -> None:
    """Record the files of an epoch, or those of the model that a run came to, that lie in its storage.

    Args:
        tracker: Where to.
        run: Key of the run.
        storage: Where they were kept.
        folder: Of the run; gets a copy where the storage is elsewhere.
        epoch: None for the model that it came to.
    """
    kept, here = storage.child(EXHIBITS), folder.path / EXHIBITS
    for name in [name for name in kept.names() if _is_of(name, epoch)]:
        path, data = here / name, kept.read(name)
        if not path.exists() or path.read_bytes() != data:
            here.mkdir(exist_ok=True)
            write_bytes(path, data)
        tracker.log_artifact(run, path, EXHIBITS)


def show(
    experiment: Experiment,
    model: nn.Module,
    *,
    splits: DataSplits,
    storage: LocalFolder | RemoteFolder,
    folder: RunFolder,
    tracker: Tracker,
    run: str,
) -> None:
    """Keep and record what shows the model that a run came to."""
    keep(exhibits(experiment, model, splits=splits), storage)
    record(tracker, run, storage=storage, folder=folder)


def _is_of(name: str, epoch: int | None) -> bool:
    return not is_of_epoch(name) if epoch is None else name.startswith(file_name("", epoch))
