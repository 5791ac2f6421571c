"""What a sweep is after: its metric, further objectives, and what a trial must satisfy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from nnray.config import Constraint, SweepConfig
from nnray.metrics import mode_of


@dataclass(frozen=True, slots=True)
class Goal:
    """What a sweep is after.

    Args:
        metric: What trials are judged by.
        mode: ``max`` or ``min``: which way it is better.
        objectives: Further objectives, and which way each is better.
        constraints: What a trial must satisfy to be taken for good.
    """

    metric: str
    mode: str
    objectives: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, config: SweepConfig) -> Self:
        """The goal of a ``sweep`` section."""
        return cls(
            config.metric,
            config.mode or mode_of(config.metric),
            {name: config.mode_of_objective(name) for name in config.objectives},
            config.rules,
        )

    @property
    def modes(self) -> tuple[str, ...]:
        """Of the metric, then of the objectives."""
        return (self.mode, *self.objectives.values())

    @property
    def needed(self) -> tuple[str, ...]:
        """All that an epoch must report, the metric first."""
        ruled = sorted(name for constraint in self.constraints for name in constraint.names)
        return tuple(dict.fromkeys((self.metric, *self.objectives, *ruled)))
