"""A data-parallel run with everything recorded: by this process alone, whichever workers come and go."""

from __future__ import annotations

import json

from nnray.assembly import load_data
from nnray.config import Experiment
from nnray.runners.cluster import Cluster
from nnray.runners.display import Display
from nnray.runners.folder import RunFolder
from nnray.runners.local import Stages, recorded
from nnray.runners.parallel.group import Group
from nnray.runners.parallel.worker import MARK
from nnray.runners.results import RunResult
from nnray.runners.sweep.interrupts import Interrupts
from nnray.tracking import Tracker
from nnray.training.memory import keep_memory
from nnray.training.storage import open_folder


def run(
    experiment: Experiment,
    folder: RunFolder,
    *,
    tracker: Tracker,
    display: Display,
    interrupts: Interrupts,
    cluster: Cluster,
) -> RunResult:
    """Go through all stages of a run.

    Args:
        experiment: With a ``parallel`` section.
        folder: Of the run, held.
        tracker: Where it is recorded.
        display: What a person sees.
        interrupts: Whether it was told to stop.
        cluster: Where workers run.

    Raises:
        NnrayError: Whatever went wrong; the run is then marked as failed.
    """
    with folder.discarded_unless_begun():
        keep_memory()  # threads are the workers' matter: this node may have fewer cores
        splits = load_data(experiment)  # of what streams, this process reads the test split alone
        storage = prepare_storage(experiment, folder)

    group = Group(
        experiment, storage=storage, folder=folder.path, interrupts=interrupts, on_fault=folder.note_fault
    )
    with recorded(experiment, folder, tracker=tracker) as key:
        stages = Stages(
            experiment=experiment,
            splits=splits,
            folder=folder,
            storage=open_folder(storage),
            tracker=tracker,
            display=display,
            run=key,
            epochs=lambda: group.epochs(display),
            on_trained=cluster.release,
        )
        return stages.result()


def prepare_storage(experiment: Experiment, folder: RunFolder) -> str:
    """The run's folder in the storage, with the mark by which workers see that it is the same everywhere.

    Returns:
        Its path or URI.

    Raises:
        RunError: It can't be written.
    """
    assert experiment.parallel is not None
    root = experiment.parallel.storage
    if root is None:
        return str(folder.path)
    where = open_folder(root).child(folder.name)
    where.put(MARK, json.dumps({"name": folder.name}).encode())
    return f"{root.rstrip('/')}/{folder.name}" if "://" in root else str(where)
