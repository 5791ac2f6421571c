"""What a federated run came to, for scripts (``--json``), notebooks and the next verb."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from nnray.runners.headline import headline
from nnray.runners.results import Result, figures, html_table, table_of

_MOST_FAULTS = 5
"""Told in the summary; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedResult(Result):
    """What a federated run came to; its model is that of the last round.

    Args:
        rounds: Rounds done.
        clients: All clients there are.
        cohort: Clients that a round takes.
        strategy: Its name.
        target: What was to be reached, such as ``test_accuracy 0.97``; empty without a target. Once it is,
            ``metrics`` has ``rounds_to_target``.
        faults: Clients and workers that failed on the way; nothing where all went well.
    """

    rounds: int
    clients: int
    cohort: int
    strategy: str
    target: str = ""
    faults: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """What came of it, and what to do next."""
        clients = sorted(name for name in self.metrics if re.match(r"client_(accuracy|loss)", name))
        shown = headline(self.metrics) | {name: self.metrics[name] for name in clients}
        return table_of([*figures(shown), *self._rows()])

    def _rows(self) -> list[tuple[str, str]]:
        told = [("fault", fault) for fault in self.faults[:_MOST_FAULTS]]
        more = len(self.faults) - _MOST_FAULTS
        return [
            ("rounds", f"{self.rounds} of {self.strategy}, {self.cohort} of {self.clients} clients in each"),
            *([("target", self._reached())] if self.target else []),
            *told,
            *([("", f"and {more} more: history.jsonl in the run's folder names them")] if more > 0 else []),
            ("run", self.run_id),
            ("model", self.model_uri),
            ("shown", self.shown),
            ("compare", f"nnray compare {self.folder} RUN ..."),
            ("open the UI", "nnray ui"),
        ]

    def _reached(self) -> str:
        rounds = self.metrics.get("rounds_to_target")
        return f"{self.target} " + ("not reached" if rounds is None else f"reached in round {rounds:.0f}")

    def _repr_html_(self) -> str:
        return html_table(f"{self.verb} {self.folder.name}", self.to_dict() | dict(self.metrics))
