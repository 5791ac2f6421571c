"""The median rule: a trial ends when its best is worse than what others were on average."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

from nnray.fields import PositiveInt
from nnray.runners.sweep.schedulers import Scheduler, Verdict


@dataclass(slots=True)
class MedianStopping:
    """Compares a trial's best value with the others' running means at the same epoch.

    Args:
        mode: ``max`` or ``min``.
        grace_period: Epoch from which on trials can be stopped.
        min_trials: Others that must have come as far.
    """

    mode: str
    grace_period: int = 1
    min_trials: int = 4
    _values: dict[int, list[float]] = field(default_factory=dict)
    _means: dict[int, dict[int, float]] = field(default_factory=dict)

    def judge(self, trial: int, epoch: int, value: float) -> Verdict | None:
        """Stop the trial if its best is worse than the median; None where it goes on."""
        means = self._means.setdefault(epoch, {})
        if trial in means:
            return None
        values = self._values.setdefault(trial, [])
        values.append(value)
        best = max(values) if self.mode == "max" else min(values)
        others = list(means.values())
        means[trial] = self._mean(values, best)
        if epoch < self.grace_period or len(others) < self.min_trials:
            return None
        median = statistics.median(others)
        if not (best < median if self.mode == "max" else best > median):
            return None
        return Verdict(
            True, f"best {best:.6g} by epoch {epoch}, {median:.6g} to pass, {len(others)} others so far"
        )

    def _mean(self, values: list[float], best: float) -> float:
        """The mean; rounding must not make it better than the best, or equal trials would be stopped."""
        mean = math.fsum(values) / len(values)
        return min(mean, best) if self.mode == "max" else max(mean, best)


def median(
    metric: str, mode: str, seed: int, *, grace_period: PositiveInt = 1, min_trials: PositiveInt = 4
) -> Scheduler:
    """Stop a trial whose best is worse than the median of the other trials' averages so far.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Not used: nothing is drawn.
        grace_period: Epochs before a trial can be stopped.
        min_trials: Others that must have come to an epoch before a trial can be stopped there.

    Source:
        Golovin et al., "Google Vizier", 2017, section 3.2.2. There the others are those that were
        trained to the end; here all that came to the epoch, so that the first ones at work are
        compared as well. Few bad trials come to late epochs, so the bar rises.
    """
    return MedianStopping(mode, grace_period, min_trials)
