"""All that the plots of a sweep show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from nnray.config import Range
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.words import short_names

STATES = ("finished", "pruned", "interrupted", "failed")


@dataclass(frozen=True, slots=True)
class Picture:
    """All that the plots show.

    Args:
        space: Dotted path to its range.
        goal: What was searched for.
        ledger: The trials.
        importance: Dotted path to its share; empty with too few trials.
    """

    space: Mapping[str, Range]
    goal: Goal
    ledger: Ledger
    importance: Mapping[str, float] = field(default_factory=dict)

    @property
    def valued(self) -> list[Trial]:
        """Trials that have a value and have ended, in order."""
        return [t for t in self.ledger.trials.values() if math.isfinite(t.value) and t.state in STATES]

    @property
    def names(self) -> dict[str, str]:
        """Short names of the parameters."""
        return short_names(list(self.space))

    @property
    def best_is_dark(self) -> str:
        """The color map in which the best is the darkest."""
        return "viridis" if self.goal.mode == "min" else "viridis_r"

    @property
    def ranked(self) -> list[Trial]:
        """The same as ``valued``, from the best to the worst."""
        return [t for t in self.ledger.ranked if math.isfinite(t.value) and t.state in STATES]

    def leading(self, most: int) -> list[str]:
        """The most important paths, no more than ``most``, in the order of the space."""
        order = [*self.importance, *(path for path in self.space if path not in self.importance)]
        return [path for path in self.space if path in order[:most]]
