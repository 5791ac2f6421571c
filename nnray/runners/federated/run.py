"""A federated run with everything recorded: by this process alone, whoever trains the clients."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from nnray.assembly import load_data
from nnray.config import Experiment
from nnray.runners.cluster import Cluster
from nnray.runners.federated.course import Course
from nnray.runners.federated.crew import Alone, Crew
from nnray.runners.federated.display import FederatedDisplay
from nnray.runners.federated.ending import Ending
from nnray.runners.federated.result import FederatedResult
from nnray.runners.federated.setting import (
    Setting,
    make_setting,
)
from nnray.runners.federated.stacking import decide
from nnray.runners.folder import RunFolder
from nnray.runners.local import recorded
from nnray.runners.recording import record_inputs
from nnray.runners.training import prepare_process
from nnray.tracking import Tracker


def run(
    experiment: Experiment,
    folder: RunFolder,
    *,
    tracker: Tracker,
    display: FederatedDisplay,
    cluster: Cluster | None = None,
    workers: int = 0,
) -> FederatedResult:
    """Go through all stages of a run.

    Args:
        experiment: With a ``federated`` section.
        folder: Of the run, held.
        tracker: Where it is recorded.
        display: What a person sees.
        cluster: Where workers run; None for this process.
        workers: How many.
    """
    with folder.discarded_unless_begun():
        prepare_process(experiment)
        splits = load_data(experiment)
        setting = decide(make_setting(experiment, splits))
    with recorded(experiment, folder, tracker=tracker, verb="federate") as key:
        record_inputs(folder, tracker, run=key, splits=splits)
        with _crew(setting, folder, display, workers=workers) as crew:
            course = Course(setting, folder.path, crew, on_skipped=display.note)
            with display:
                display.begin(folder.name, rounds=setting.federated.rounds)
                for record in course.records():
                    tracker.log_metrics(key, record.rows())
                    display.round(record)
        if cluster is not None:
            cluster.release()
        return Ending(
            setting=setting,
            splits=splits,
            folder=folder,
            tracker=tracker,
            display=display,
            key=key,
            course=course,
        ).result()


@contextlib.contextmanager
def _crew(setting: Setting, folder: RunFolder, display: FederatedDisplay, *, workers: int) -> Iterator[Crew]:
    if not workers:
        yield Alone(setting)
        return
    from nnray.runners.federated.pool import Pool

    federated = setting.federated

    def on_fault(text: str) -> None:
        faults = [*folder.record.get("faults", []), f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"]
        folder.update(faults=faults)
        display.note(f"warning: {text}")

    with Pool(
        setting,
        workers=workers,
        cpus=federated.cpus_per_worker,
        gpus=federated.gpus_per_worker,
        deadline_s=federated.deadline_s,
        search=folder.record["search"],
        on_fault=on_fault,
    ) as pool:
        yield pool
