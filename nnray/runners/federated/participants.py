"""What each client has contributed, over all rounds: of those that took part, never of all there are."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnray.federated.partitions.partition import Partition
from nnray.federated.rounds import RoundReport

_COLUMNS = ("client", "examples", "rounds", "steps", "mean_loss", "failures", "seconds")


@dataclass(slots=True)
class _Tally:
    rounds: int = 0
    steps: int = 0
    loss: float = 0.0
    failures: int = 0
    seconds: float = 0.0


class Participants:
    """A line for each client that took part.

    Args:
        population: Who has which examples.
    """

    def __init__(self, population: Partition) -> None:
        self._population = population
        self._tallies: dict[int, _Tally] = {}

    def take(self, report: RoundReport) -> None:
        """Another round."""
        for client in report.reports:
            tally = self._tallies.setdefault(client.client, _Tally())
            tally.rounds += 1
            tally.steps += client.num_steps
            tally.loss += client.loss * client.num_steps
            tally.seconds += client.seconds
        for fault in report.faults:
            self._tallies.setdefault(fault.failed.client, _Tally()).failures += 1

    def dump(self) -> dict[int, list[float]]:
        """All of it, as plain numbers."""
        return {
            client: [t.rounds, t.steps, t.loss, t.failures, t.seconds] for client, t in self._tallies.items()
        }

    def load(self, saved: Mapping[int, list[Any]]) -> None:
        """The inverse of ``dump``."""
        self._tallies = {int(client): _Tally(*values) for client, values in saved.items()}

    def csv(self) -> str:
        """A table, by client."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        starts = self._population.starts
        for client, t in sorted(self._tallies.items()):
            examples = int(starts[client + 1] - starts[client])
            loss = round(t.loss / t.steps, 6) if t.steps and not math.isnan(t.loss) else ""
            writer.writerow([client, examples, t.rounds, t.steps, loss, t.failures, round(t.seconds, 4)])
        return text.getvalue()
