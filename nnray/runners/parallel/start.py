"""Begins a data-parallel run: Ray starts in the background while torch and the rest are imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnray.config import Experiment, ParallelConfig
from nnray.errors import ClusterError
from nnray.runners.cluster import Cluster, Resources, can_grow_to
from nnray.runners.folder import RunFolder
from nnray.runners.results import RunResult
from nnray.runners.sweep.demand import Demand, nodes
from nnray.runners.sweep.interrupts import interrupts

if TYPE_CHECKING:
    from nnray.runners.display import Display
    from nnray.tracking import Tracker

_PRELOAD = ("ray.train.torch", "nnray.runners.parallel.worker")
_ADVICE = "lower parallel.workers, parallel.cpus_per_worker or parallel.gpus_per_worker"


def train(experiment: Experiment, folder: RunFolder, *, tracker: Tracker, display: Display) -> RunResult:
    """Train an experiment with several workers, or go on where an earlier process left off.

    Args:
        experiment: With a ``parallel`` section; as it stands in the folder.
        folder: Of the run.
        tracker: Where it is recorded, under the folder's name.
        display: What a person sees.

    Raises:
        ClusterError: More is asked for than there is.
        RunError: Workers were lost too often.
        NnrayError: Whatever else went wrong; the run is then marked as failed.
    """
    if folder.result is not None:
        return RunResult.from_dict(folder.result)
    assert experiment.parallel is not None
    fewest = demand(experiment.parallel)
    with folder.held():
        with folder.discarded_unless_begun():
            cluster = Cluster(fewest.total, advice=_ADVICE, preload=_PRELOAD)
        with interrupts(folder.name) as told, cluster:
            from nnray.runners.parallel.run import run

            with folder.discarded_unless_begun():
                cluster.resources()
                require_room(fewest)
            return run(experiment, folder, tracker=tracker, display=display, interrupts=told, cluster=cluster)


def demand(parallel: ParallelConfig) -> Demand:
    """The least that a run can go on with."""
    worker = Resources(parallel.cpus_per_worker, parallel.gpus_per_worker)
    return Demand(worker, parallel.min_workers or parallel.workers, _ADVICE)


def require_room(fewest: Demand) -> None:
    """See that the workers fit on the nodes: Ray Train would wait for ever.

    Raises:
        ClusterError: They don't, and no autoscaler could bring nodes on which they do.
    """
    if fewest.how_often(nodes()) or can_grow_to(fewest.total):
        return
    has = "; ".join(map(str, nodes()))
    raise ClusterError(
        f"{fewest} are asked for; each must fit on one node, and the nodes have {has}: {_ADVICE}"
    )
