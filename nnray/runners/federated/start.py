"""Begins a federated run: Ray, if it is wanted, starts while torch is imported and data are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnray.config import Experiment, FederatedConfig, require_federated
from nnray.errors import ClusterError, ConfigError, Problem
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.federated.result import FederatedResult
from nnray.runners.folder import RunFolder
from nnray.runners.sweep.demand import nodes
from nnray.runners.sweep.interrupts import interrupts

if TYPE_CHECKING:
    from nnray.runners.federated.display import FederatedDisplay
    from nnray.tracking import Tracker

_PRELOAD = ("nnray.runners.federated.actor",)
_ADVICE = "lower federated.workers, federated.cpus_per_worker or federated.gpus_per_worker"


def federate(
    experiment: Experiment, folder: RunFolder, *, tracker: Tracker, display: FederatedDisplay
) -> FederatedResult:
    """Train an experiment federatedly, or go on where an earlier process left off.

    Args:
        experiment: With a ``federated`` section; as it stands in the folder.
        folder: Of the run.
        tracker: Where it is recorded, under the folder's name.
        display: What a person sees.

    Raises:
        ClientFailure: Too few clients of a round came to an update.
        ClusterError: More is asked for than there is, or workers were lost too often.
        NnrayError: Whatever else went wrong; the run is then marked as failed.
    """
    if folder.result is not None:
        return FederatedResult.from_dict(folder.result)
    with folder.discarded_unless_begun():
        federated = require_federated(experiment)
        _require_cutting(federated)
    with folder.held(), interrupts(folder.name):
        if federated.workers == 0:
            from nnray.runners.federated.run import run

            return run(experiment, folder, tracker=tracker, display=display)
        with folder.discarded_unless_begun():
            least = _each(federated).times(federated.workers or len(federated.sites or [None]))
            cluster = Cluster(least, advice=_ADVICE, preload=_PRELOAD, shares_cores=True)
        with cluster:
            from nnray.runners.federated.run import run

            with folder.discarded_unless_begun():
                workers = _workers(federated, cluster)
            return run(experiment, folder, tracker=tracker, display=display, cluster=cluster, workers=workers)


def _each(federated: FederatedConfig) -> Resources:
    return Resources(federated.cpus_per_worker, federated.gpus_per_worker)


def _workers(federated: FederatedConfig, cluster: Cluster) -> int:
    """As many as are asked for, else as fit; Ray would wait for ever for one that doesn't."""
    cluster.resources()
    if federated.sites:
        return 0
    room = sum(_each(federated).how_often(node) for node in nodes())
    wanted = federated.workers or max(1, room)
    if wanted > room:
        has = "; ".join(map(str, nodes()))
        raise ClusterError(
            f"{wanted} workers of {_each(federated)} each must fit on nodes that have {has}: {_ADVICE}"
        )
    return wanted


def _require_cutting(federated: FederatedConfig) -> None:
    """Only another process can be cut off."""
    if federated.deadline_s is not None and federated.workers == 0:
        message = "needs workers to cut off: set federated.workers to 1 or more, or leave deadline_s out"
        raise ConfigError("this experiment", [Problem("federated.deadline_s", message)])
