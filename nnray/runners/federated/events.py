"""What happened in virtual time, a line a round, beside the history of a run."""

from __future__ import annotations

from pathlib import Path

from nnray.durable import append_json, read_json_lines
from nnray.federated.rounds import RoundReport
from nnray.federated.virtual.report import TimedReport

FILE = "events.jsonl"


class EventLog:
    """The events of a run; each round's once, however often it had to be done again.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._written = {int(line["round"]) for line in read_json_lines(self._path)}

    def record(self, report: RoundReport) -> None:
        """Write down what happened in a round; nothing where rounds are not timed."""
        number = report.state.round
        if not isinstance(report, TimedReport) or number in self._written:
            return
        append_json(
            self._path, {"round": number, "events": [str(event) for event in report.events]}, synced=False
        )
        self._written.add(number)


def told(folder: Path) -> list[str]:
    """All events of a run, in their order."""
    lines = {int(line["round"]): line["events"] for line in read_json_lines(folder / FILE)}
    return [event for number in sorted(lines) for event in lines[number]]
