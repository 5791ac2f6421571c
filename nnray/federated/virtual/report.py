"""What is told of a round in virtual time, beside what is told of every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from nnray.federated.rounds import RoundReport
from nnray.federated.virtual.windows import MICRO

Kind = Literal["begins", "comes", "drops out", "leaves", "is late", "is too old", "steps"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in virtual time.

    Args:
        time: When, in microseconds from the beginning of the run.
        kind: What: of a client, or a step of the server.
        client: Its number; -1 for the server.
        version: Rounds that were finished when the client was sent its weights, or after the server's step.
    """

    time: int
    kind: Kind
    client: int
    version: int

    def __str__(self) -> str:
        who = "the server" if self.client < 0 else f"client {self.client}"
        return f"{self.time / MICRO:.6f} s: {who} {self.kind} (version {self.version})"


@dataclass(frozen=True, slots=True)
class TimedReport(RoundReport):
    """What came of a round, and when.

    Args:
        virtual_seconds: That the round took.
        virtual_time: Seconds from the beginning of the run to its end.
        events: In it, in their order.
        staleness: Rounds that ended while each client of ``reports`` was at work.
    """

    virtual_seconds: float = 0.0
    virtual_time: float = 0.0
    events: tuple[Event, ...] = ()
    staleness: tuple[int, ...] = ()

    def metrics(self) -> dict[str, float]:
        """What goes into a run's history."""
        found = {"virtual_seconds": self.virtual_seconds, "virtual_time": self.virtual_time}
        if self.staleness:
            found["staleness_mean"] = sum(self.staleness) / len(self.staleness)
            found["staleness_max"] = float(max(self.staleness))
        return found


def timed(report: RoundReport, *, began: int, ended: int, **more: Any) -> TimedReport:
    """A report with when it was.

    Args:
        report: Of the round.
        began: Microseconds from the beginning of the run.
        ended: Likewise.
        more: Fields that are new, or other than in the report.
    """
    known = {item.name: getattr(report, item.name) for item in fields(RoundReport)}
    seconds = {"virtual_seconds": (ended - began) / MICRO, "virtual_time": ended / MICRO}
    return TimedReport(**(known | seconds | more))


def log_of(reports: Sequence[TimedReport]) -> tuple[Event, ...]:
    """The events of several rounds."""
    return tuple(event for report in reports for event in report.events)
