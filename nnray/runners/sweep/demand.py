"""What a trial takes of a cluster: one worker, or several that train together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnray.errors import ClusterError
from nnray.runners.cluster import Resources


@dataclass(frozen=True, slots=True)
class Demand:
    """The workers of a trial; each of them needs a node that has room for it.

    Args:
        worker: What one of them takes.
        workers: How many there are.
        advice: What to do where a cluster has less.
    """

    worker: Resources
    workers: int = 1
    advice: str = ""

    def __str__(self) -> str:
        if self.workers == 1:
            return str(self.worker)
        return f"{self.workers} workers with {self.worker} each"

    @property
    def total(self) -> Resources:
        """Of a trial."""
        return self.worker.times(self.workers)

    def bundles(self) -> list[dict[str, float]]:
        """What Ray is asked for: a bundle for each worker, and no GPU of zero."""
        bundle = {"CPU": self.worker.cpus, "GPU": self.worker.gpus}
        return [{name: amount for name, amount in bundle.items() if amount} for _ in range(self.workers)]

    def how_often(self, nodes: Sequence[Resources]) -> int:
        """How many trials have room beside each other."""
        return sum(self.worker.how_often(node) for node in nodes) // self.workers

    def room(self, nodes: Sequence[Resources], *, trials: int, ceiling: Resources | None = None) -> int:
        """How many trials have room beside each other.

        Args:
            nodes: What each node of the cluster has.
            trials: The least that must have room.
            ceiling: What an autoscaler could bring all nodes together to; None where there is none.

        Raises:
            ClusterError: There is less room; waiting would not help.
        """
        grown = self.total.how_often(ceiling) if ceiling is not None else 0
        room = max(self.how_often(nodes), grown)
        if room < trials:
            what = f"{trials} trials at a time of {self}" if trials > 1 else f"a trial of {self}"
            raise ClusterError(
                f"{what}: there is room for {room}, for a worker must fit on one node, and the nodes have "
                f"{'; '.join(map(str, nodes))}: {self.advice}"
            )
        return room


def nodes() -> list[Resources]:
    """What each node of the cluster has."""
    import ray

    found = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node["Resources"] for node in found if node["Alive"]]
    return [Resources(has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in alive]
