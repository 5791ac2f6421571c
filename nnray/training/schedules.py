"""Schedules of the learning rate: pure functions from a step to a factor, with a linear warm-up.

The rate of every parameter group is its own base rate times the factor. What is saved is the number of
steps and, for plateau, what it has seen; so a resumed run goes on exactly, and a changed base rate counts.
The warm-up ends on the full rate and its first step is not lost: step i of W has i / W of the rate.
Momentum is left alone by all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from torch.optim import Optimizer

from nnray.errors import ConfigError, Problem
from nnray.fields import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt

Factor = Callable[[int], float]
"""Steps taken so far -> share of the base rate for the next step."""


@dataclass(frozen=True, slots=True)
class Plateau:
    """What the plateau schedule has seen, and the factor it has come to."""

    best: float = math.inf
    bad_epochs: int = 0
    cooldown: int = 0
    factor: float = 1.0


Watch = Callable[[Plateau, float], Plateau]


class Schedule:
    """Sets the rate of every parameter group before each step.

    Args:
        optimizer: Its present rates are the base rates.
        factor: Share of the base rate by steps taken.
        watch: Reads a validation loss at the end of an epoch; None where a schedule doesn't look at it.
    """

    def __init__(self, optimizer: Optimizer, factor: Factor, *, watch: Watch | None = None) -> None:
        self._optimizer, self._factor, self._watch = optimizer, factor, watch
        self._base = tuple(float(group["lr"]) for group in optimizer.param_groups)
        self._plateau = Plateau()
        self._steps = 0
        self._apply()

    @property
    def lr(self) -> float:
        """The rate of the first parameter group in the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Go on; to be called after every step of the optimizer."""
        self._steps += 1
        self._apply()

    def epoch_end(self, val_loss: float) -> None:
        """Look at the validation loss of an epoch; to be called after every epoch."""
        if self._watch is not None:
            self._plateau = self._watch(self._plateau, val_loss)
            self._apply()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs; plain numbers."""
        return {"steps": self._steps, "plateau": asdict(self._plateau)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, with this schedule's own base rates."""
        self._steps, self._plateau = int(state["steps"]), Plateau(**state["plateau"])
        self._apply()

    def _apply(self) -> None:
        factor = self._factor(self._steps) * self._plateau.factor
        for base, group in zip(self._base, self._optimizer.param_groups, strict=True):
            group["lr"] = base * factor


def constant(
    optimizer: Optimizer, *, num_steps: int, steps_per_epoch: int, warmup: NonNegative = 0.0
) -> Schedule:
    """The same rate throughout.

    Args:
        num_steps: Steps of the whole run.
        steps_per_epoch: Steps of an epoch.
        warmup: Epochs over which the rate rises from 0, linearly.
    """
    ramp = _ramp(warmup, num_steps, steps_per_epoch)
    return Schedule(optimizer, ramp)


def step(
    optimizer: Optimizer,
    *,
    num_steps: int,
    steps_per_epoch: int,
    step_size: PositiveInt = 10,
    gamma: Fraction = 0.1,
    warmup: NonNegative = 0.0,
) -> Schedule:
    """The rate is cut every few epochs.

    Args:
        num_steps: Steps of the whole run.
        steps_per_epoch: Steps of an epoch.
        step_size: Epochs between two cuts, counted from the start of the run.
        gamma: What the rate is multiplied with at a cut.
        warmup: Epochs over which the rate rises from 0, linearly.
    """
    ramp = _ramp(warmup, num_steps, steps_per_epoch)
    return Schedule(optimizer, lambda i: ramp(i) * gamma ** (i // (step_size * steps_per_epoch)))


def cosine(
    optimizer: Optimizer,
    *,
    num_steps: int,
    steps_per_epoch: int,
    min_factor: Fraction = 0.0,
    warmup: NonNegative = 0.0,
) -> Schedule:
    """The rate falls along half a cosine, from the end of the warm-up to the end of the run.

    Args:
        num_steps: Steps of the whole run.
        steps_per_epoch: Steps of an epoch.
        min_factor: Share of the rate at the end.
        warmup: Epochs over which the rate rises from 0, linearly.

    Source:
        Loshchilov and Hutter 2017, equation 5, without restarts.
    """
    ramp = _ramp(warmup, num_steps, steps_per_epoch)
    start = _warmup_steps(warmup, steps_per_epoch)

    def factor(i: int) -> float:
        return ramp(i) * _between(1.0, min_factor, _share(i - start, num_steps - start))

    return Schedule(optimizer, factor)


def one_cycle(
    optimizer: Optimizer,
    *,
    num_steps: int,
    steps_per_epoch: int,
    pct_start: Fraction = 0.3,
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    warmup: NonNegative = 0.0,
) -> Schedule:
    """The rate rises to ``optimizer.lr``, which is the peak, then falls far below where it started.

    Args:
        num_steps: Steps of the whole run.
        steps_per_epoch: Steps of an epoch.
        pct_start: Share of the cycle in which the rate rises.
        div_factor: The cycle starts at the peak over this.
        final_div_factor: The cycle ends at its start over this.
        anneal_strategy: Along a cosine, or along lines.
        warmup: Epochs before the cycle over which the rate rises from 0 to the cycle's start, linearly.

    Source:
        Smith and Topin 2018, in torch's two phases; the momentum is not cycled.
    """
    ramp = _ramp(warmup, num_steps, steps_per_epoch)
    start = _warmup_steps(warmup, steps_per_epoch)
    last = max(num_steps - start - 1, 0)
    peak = max(pct_start * (num_steps - start) - 1, 0.0)
    low, end = 1 / div_factor, 1 / (div_factor * final_div_factor)

    def factor(i: int) -> float:
        at = max(i - start, 0)
        if at < peak:
            return ramp(i) * _between(low, 1.0, _share(at, peak), anneal_strategy)
        return ramp(i) * _between(1.0, end, _share(at - peak, last - peak), anneal_strategy)

    return Schedule(optimizer, factor)


def plateau(
    optimizer: Optimizer,
    *,
    num_steps: int,
    steps_per_epoch: int,
    factor: Fraction = 0.1,
    patience: NonNegativeInt = 5,
    threshold: Fraction = 1e-4,
    cooldown: NonNegativeInt = 0,
    min_factor: Fraction = 0.0,
    warmup: NonNegative = 0.0,
) -> Schedule:
    """The rate is cut when the validation loss has stopped falling.

    Args:
        num_steps: Steps of the whole run.
        steps_per_epoch: Steps of an epoch.
        factor: What the rate is multiplied with at a cut.
        patience: Epochs without progress that are borne; the next one cuts.
        threshold: Progress is a loss below best * (1 - threshold); a loss that is not finite is none.
        cooldown: Epochs after a cut that don't count.
        min_factor: Smallest share of the rate.
        warmup: Epochs over which the rate rises from 0, linearly.
    """

    def watch(seen: Plateau, loss: float) -> Plateau:
        if loss < seen.best * (1 - threshold):
            seen = replace(seen, best=loss, bad_epochs=0)
        else:
            seen = replace(seen, bad_epochs=seen.bad_epochs + 1)
        if seen.cooldown > 0:
            seen = replace(seen, cooldown=seen.cooldown - 1, bad_epochs=0)
        if seen.bad_epochs > patience:
            cut = max(seen.factor * factor, min_factor)
            seen = replace(seen, factor=cut, cooldown=cooldown, bad_epochs=0)
        return seen

    ramp = _ramp(warmup, num_steps, steps_per_epoch)
    return Schedule(optimizer, ramp, watch=watch)


def _warmup_steps(warmup: float, steps_per_epoch: int) -> int:
    return round(warmup * steps_per_epoch)


def _ramp(warmup: float, num_steps: int, steps_per_epoch: int) -> Factor:
    width = _warmup_steps(warmup, steps_per_epoch)
    if width > num_steps:
        epochs = num_steps / steps_per_epoch
        problem = f"longer than the run (got {warmup:g} epochs; allowed: 0 to {epochs:g}): lower it"
        raise ConfigError("experiment", [Problem("schedule.warmup", problem)])
    return lambda i: min(1.0, (i + 1) / width) if width else 1.0


def _share(at: float, of: float) -> float:
    """How far along, from 0 to 1; a way of no length is done once it is begun."""
    if at <= 0:
        return 0.0
    return min(at / of, 1.0) if of > 0 else 1.0


def _between(start: float, end: float, share: float, shape: str = "cos") -> float:
    if shape == "cos":
        share = (1 - math.cos(math.pi * share)) / 2
    return start + (end - start) * share
