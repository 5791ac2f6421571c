"""A federated run with everything recorded: by this process alone, whoever trains the clients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nnray.assembly import load_data
from nnray.config import Experiment, require_federated
from nnray.errors import DataError
from nnray.runners.cluster import Cluster
from nnray.runners.federated.checks import require_possible
from nnray.runners.federated.course import Course
from nnray.runners.federated.crew import Alone, Crew
from nnray.runners.federated.display import FederatedDisplay
from nnray.runners.federated.ending import Ending
from nnray.runners.federated.guarantee import outside_of
from nnray.runners.federated.masking import masked
from nnray.runners.federated.result import FederatedResult
from nnray.runners.federated.setting import (
    Setting,
    make_setting,
)
from nnray.runners.federated.stacking import decide
from nnray.runners.folder import RunFolder
from nnray.runners.local import recorded
from nnray.runners.private import declare
from nnray.runners.recording import record_inputs
from nnray.runners.training import prepare_process
from nnray.tracking import Tracker

if TYPE_CHECKING:
    from nnray.runners.federated.sites import Sites


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
    with contextlib.ExitStack() as stack:
        with folder.discarded_unless_begun():
            prepare_process(experiment)
            sites = _sites(experiment, folder, display)
            if sites is not None:
                stack.enter_context(sites)
                _require_same(folder, sites)
            splits = load_data(experiment) if sites is None else sites.splits
            setting = decide(make_setting(experiment, splits)) if sites is None else sites.setting
            require_possible(setting)
        key = stack.enter_context(recorded(experiment, folder, tracker=tracker, verb="federate"))
        record_inputs(folder, tracker, run=key, splits=splits)
        _declare(setting, tracker, display, run=key)
        with _crew(setting, folder, display, workers=workers, sites=sites) as crew:
            course = Course(setting, folder.path, masked(crew, setting), on_skipped=display.note)
            with display:
                display.begin(folder.name, rounds=setting.federated.rounds)
                past = course.state.round
                if past:
                    display.note(f"goes on after round {past}")
                for record in course.records():
                    tracker.log_metrics(key, record.rows())
                    if record.round > past:
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


def _sites(experiment: Experiment, folder: RunFolder, display: FederatedDisplay) -> Sites | None:
    """Where the experiment has them: they read the data, and this process does not."""
    if not require_federated(experiment).sites:
        return None
    from nnray.runners.federated.sites import Sites

    on_fault = _noting(folder, display)
    return Sites(experiment, run=folder.name, search=folder.record["search"], on_fault=on_fault)


def _require_same(folder: RunFolder, sites: Sites) -> None:
    """Refuse to go on with a run on data that it did not begin with.

    Raises:
        DataError: The sites tell other forms, sizes or classes than they did then.
    """
    found = sites.setting.info.digest
    if folder.record.get("sites_digest", found) != found:
        raise DataError(
            f"{folder.name}: the sites' examples are not as many, or not of the form, that they were when "
            "the run began: bring those back and say nnray resume, or begin another run with nnray federate"
        )
    folder.update(sites_digest=found)


def _declare(setting: Setting, tracker: Tracker, display: FederatedDisplay, *, run: str) -> None:
    """Say what the run guarantees, if it does."""
    experiment, local = setting.experiment, setting.local_guarantee
    if setting.guarantee is not None:
        said, outside = setting.guarantee.describe(), outside_of(experiment)
        declare(said, outside, tracker=tracker, notes=display, run=run)
    elif local is not None:
        declare(local.describe(), local.outside(experiment), tracker=tracker, notes=display, run=run)


def _noting(folder: RunFolder, display: FederatedDisplay) -> Callable[[str], None]:
    def on_fault(text: str) -> None:
        folder.note_fault(text)
        display.note(f"warning: {text}")

    return on_fault


@contextlib.contextmanager
def _crew(
    setting: Setting, folder: RunFolder, display: FederatedDisplay, *, workers: int, sites: Sites | None
) -> Iterator[Crew]:
    if sites is not None:
        with sites:  # until the cluster is let go of
            yield sites
        return
    if not workers:
        yield Alone(setting)
        return
    from nnray.runners.federated.pool import Pool

    federated = setting.federated
    with Pool(
        setting,
        workers=workers,
        cpus=federated.cpus_per_worker,
        gpus=federated.gpus_per_worker,
        deadline_s=federated.deadline_s,
        search=folder.record["search"],
        on_fault=_noting(folder, display),
    ) as pool:
        yield pool
