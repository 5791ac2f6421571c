"""What a federated run came to, for scripts (``--json``), notebooks and the next verb."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from nnray.runners.results import Result, html_table

_SHOWN = ("test_accuracy", "test_loss", "val_accuracy", "val_loss")
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
        shown = [name for name in (*_SHOWN, *clients) if name in self.metrics]
        width = max([14, *(len(name) for name in shown)])
        rows = [*((name, f"{self.metrics[name]:.4f}") for name in shown), *self._rows()]
        return "\n".join(f"{name:{width}} {value}" for name, value in rows)

    def _rows(self) -> list[tuple[str, str]]:
        told = [("fault", fault) for fault in self.faults[:_MOST_FAULTS]]
        more = len(self.faults) - _MOST_FAULTS
        rows = [
            ("rounds", f"{self.rounds} of {self.strategy}, {self.cohort} of {self.clients} clients in each"),
            *([("target", self._reached())] if self.target else []),
            *told,
            *([("", f"and {more} more: history.jsonl in the run's folder names them")] if more > 0 else []),
            ("run", self.run_id),
            ("model", self.model_uri),
            ("compare", f"nnray compare {self.folder} RUN ..."),
            ("open the UI", "nnray ui"),
        ]
        return [(name, value) for name, value in rows if value]

    def _reached(self) -> str:
        rounds = self.metrics.get("rounds_to_target")
        return f"{self.target} " + ("not reached" if rounds is None else f"reached in round {rounds:.0f}")

    def _repr_html_(self) -> str:
        return html_table(f"{self.verb} {self.folder.name}", self.to_dict() | dict(self.metrics))
