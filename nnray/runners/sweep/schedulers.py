"""Who stops bad trials early.

A scheduler sees each trial's metric after each epoch and says whether the trial goes on. What it
says depends only on what it was told and in which order, so telling a new one the same again,
from the journal, rebuilds it. Values that are not finite never get here: those trials have failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import Field

from nnray.fields import PositiveInt

Reduction = Annotated[int, Field(ge=2)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scheduler decided on a trial.

    Args:
        stop: Whether the trial ends here.
        reason: In words, with the figures.
        pause: Whether it waits, with a checkpoint of this epoch, until it is told how to go on.
    """

    stop: bool
    reason: str
    pause: bool = False


class Scheduler(Protocol):
    """Judges trials as they report."""

    def judge(self, trial: int, epoch: int, value: float) -> Verdict | None:
        """Take note of a trial's metric after an epoch.

        Args:
            trial: Its number.
            epoch: Counted from 1; each trial's epochs come in order.
            value: Finite.

        Returns:
            The decision; None where there was nothing to decide.
        """


class AllToTheEnd:
    """Stops nothing."""

    def judge(self, trial: int, epoch: int, value: float) -> Verdict | None:
        """Nothing to decide."""
        return None


@dataclass(slots=True)
class SuccessiveHalving:
    """Asynchronous successive halving: at each rung only the best of those seen so far go on.

    Args:
        mode: ``max`` or ``min``.
        grace_period: Epoch of the first rung.
        reduction_factor: Each rung lies so many times further; one in so many goes on from it.
    """

    mode: str
    grace_period: int = 1
    reduction_factor: int = 2
    _rungs: dict[int, dict[int, float]] = field(default_factory=dict)

    @property
    def rungs(self) -> Mapping[int, Mapping[int, float]]:
        """Epoch of each rung to the value of each trial that came to it."""
        return self._rungs

    def judge(self, trial: int, epoch: int, value: float) -> Verdict | None:
        """Let the trial pass if it is among the best at its rung; a tie passes."""
        if not self._is_rung(epoch):
            return None
        rung = self._rungs.setdefault(epoch, {})
        if trial in rung:
            return None
        rung[trial] = value
        ranked = sorted(rung.values(), reverse=self.mode == "max")
        bar = ranked[max(1, len(ranked) // self.reduction_factor) - 1]
        stop = value < bar if self.mode == "max" else value > bar
        return Verdict(stop, f"{value:.6g} at epoch {epoch}, {bar:.6g} to pass, {len(ranked)} trials so far")

    def _is_rung(self, epoch: int) -> bool:
        rung = self.grace_period
        while rung < epoch:
            rung *= self.reduction_factor
        return rung == epoch


def asha(
    metric: str, mode: str, seed: int, *, grace_period: PositiveInt = 1, reduction_factor: Reduction = 2
) -> Scheduler:
    """Stop a trial that is not among the best half of those that came as far as it.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Not used: nothing is drawn.
        grace_period: Epochs before a trial can be stopped.
        reduction_factor: One in so many goes on from each rung; the rungs lie at the grace
            period times its powers.

    Source:
        Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020, in the form that
        stops trials instead of pausing them. A trial's last epoch is its own end, so no rung is
        needed there, and none has to know how many epochs there are. The paper's factor is 4; where a
        network is trained for some ten epochs, that stops most of the good ones after the first.
    """
    return SuccessiveHalving(mode, grace_period, reduction_factor)


def none(metric: str, mode: str, seed: int) -> Scheduler:
    """Let every trial run to its end.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Not used: nothing is drawn.
    """
    return AllToTheEnd()
