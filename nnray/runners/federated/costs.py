"""What clients are expected to cost, so that all workers are done at about the same time."""

from __future__ import annotations

from collections.abc import Iterable

from nnray.federated.outcome import ClientReport
from nnray.federated.partitions.partition import Partition

_MEMORY = 0.7
"""What of a client's measured pace is kept when it has trained again."""


class Costs:
    """Seconds by client: measured where it has trained, else by its examples.

    Args:
        population: Who has which examples.
    """

    def __init__(self, population: Partition) -> None:
        self._population = population
        self._seconds: dict[int, float] = {}
        self._pace = 1.0

    def of(self, client: int) -> float:
        """What a client is expected to cost."""
        known = self._seconds.get(client)
        if known is not None:
            return known
        starts = self._population.starts
        return self._pace * float(starts[client + 1] - starts[client])

    def learn(self, reports: Iterable[ClientReport]) -> None:
        """Take in what clients have cost."""
        for report in reports:
            before = self._seconds.get(report.client, report.seconds)
            self._seconds[report.client] = _MEMORY * before + (1 - _MEMORY) * report.seconds
            pace = report.seconds / report.num_examples
            self._pace = pace if self._pace == 1.0 else _MEMORY * self._pace + (1 - _MEMORY) * pace
