"""The rounds of a run as they stand in its folder: each once, whatever was cut off and done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnray.clock import now_ms
from nnray.durable import append_json, sync
from nnray.federated.rounds import Fault
from nnray.tracking import MetricRow
from nnray.training.storage import LocalFolder

_FILE = "history.jsonl"


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """A round that has ended.

    Args:
        round: Its number, from 1.
        time_ms: When it was first told of, in milliseconds since 1970.
        metrics: Of the model after it, where it was evaluated, and of how it went.
        failures: Clients that failed in it, and what was done about each.
    """

    round: int
    time_ms: int
    metrics: Mapping[str, float]
    failures: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def rows(self) -> list[MetricRow]:
        """The metrics as rows for the store."""
        return [MetricRow(name, value, self.round, self.time_ms) for name, value in self.metrics.items()]

    def faults(self) -> list[str]:
        """The failures, a line each."""
        return [
            f"round {self.round}: client {f['client']}: {f['error']} ({f['fate']})" for f in self.failures
        ]


class History:
    """The rounds of a run.

    No kill loses a line. A power cut may lose those since the last ``sync``: whoever relies on lines, such as
    a checkpoint of a later round, syncs first.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: LocalFolder) -> None:
        self._folder = folder
        self.records = {line["round"]: RoundRecord(**line) for line in folder.lines(_FILE)}

    def upto(self, number: int) -> Iterator[RoundRecord]:
        """The records of rounds 1 to ``number``."""
        yield from (self.records[n] for n in sorted(self.records) if n <= number)

    def record(self, number: int, metrics: Mapping[str, float], *, faults: Sequence[Fault]) -> RoundRecord:
        """Write a round down, or give the record that stands if it was written before."""
        if number not in self.records:
            record = RoundRecord(number, now_ms(), dict(metrics), [_plain(fault) for fault in faults])
            line = {
                "round": number,
                "time_ms": record.time_ms,
                "metrics": record.metrics,
                "failures": record.failures,
            }
            append_json(self._folder.path / _FILE, line, synced=False)
            self.records[number] = record
        return self.records[number]

    def sync(self) -> None:
        """Have all lines on the disk."""
        if (path := self._folder.path / _FILE).exists():
            sync(path)


def _plain(fault: Fault) -> dict[str, Any]:
    failed = fault.failed
    return {"client": failed.client, "error": failed.error, "trace": failed.trace, "fate": fault.fate}
