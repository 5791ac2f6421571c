"""How far a sweep may go: trials, time, failures, and a target that ends it early."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nnray.config import SweepConfig
from nnray.metrics import better
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.ledger import Ledger, Trial

_TRIALS = 16
"""Trials of a sweep that names no number, where the searcher doesn't know of one either."""


def num_trials(config: SweepConfig, *, size: int | None) -> int:
    """How many trials a sweep has.

    Args:
        config: Of the sweep.
        size: How many points there are to try, where the searcher covers them all.
    """
    if size is None:
        return config.trials or _TRIALS
    return min(config.trials or size, size)


@dataclass(slots=True)
class Budget:
    """What a sweep may still do.

    Args:
        config: Of the sweep.
        trials: How many trials it has.
        ledger: What is known of them.
        spent_s: Seconds that earlier processes took.
        clock: Seconds, from any start.
    """

    config: SweepConfig
    trials: int
    ledger: Ledger
    spent_s: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _mode: str = field(init=False)

    def __post_init__(self) -> None:
        self._began, self._mode = self.clock(), Goal.of(self.config).mode

    @property
    def seconds(self) -> float:
        """How long the sweep has taken, all its processes added up."""
        return self.spent_s + self.clock() - self._began

    @property
    def is_spent(self) -> bool:
        """Whether no new trial may begin."""
        limit = self.config.seconds
        is_late = limit is not None and self.seconds >= limit
        return is_late or len(self.ledger.trials) >= self.trials or self.is_overdrawn or self.is_met

    @property
    def is_overdrawn(self) -> bool:
        """Whether more trials have failed than may."""
        limit = self.config.max_failures
        return limit is not None and self.ledger.counts.get("failed", 0) > limit

    @property
    def is_met(self) -> bool:
        """Whether a trial has reached the target."""
        return self.config.target is not None and any(map(self.meets, self.ledger.trials.values()))

    def meets(self, trial: Trial) -> bool:
        """Whether a trial reaches the target, constraints included."""
        target = self.config.target
        if target is None or not trial.chosen or not trial.is_feasible or trial.state == "failed":
            return False
        return trial.value == target or better(self._mode, trial.value, target)
