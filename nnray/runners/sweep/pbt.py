"""Population based training: trials that do badly go on with the weights of one that does well.

All members of a population train for some epochs and wait. Once the last one has come, the worst
take weights, optimizer state and hyperparameters of one of the best, and perturb the latter. So
hyperparameters change while training runs, and what is learned is not thrown away.

It is synchronous: who takes whose weights depends on the values of a whole generation, not on the
order in which workers come to its end; so the result is the same for any number of workers.

Source: Jaderberg et al., "Population Based Training of Neural Networks", 2017, with truncation
selection; theirs is asynchronous.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Protocol, runtime_checkable

from pydantic import Field

from nnray.config.ranges import Range
from nnray.errors import ConfigError, Problem, suggestion
from nnray.fields import Fraction, PositiveInt
from nnray.runners.sweep.perturb import mutable_paths, obstacle, perturbed
from nnray.runners.sweep.schedulers import Scheduler, Verdict
from nnray.seeding import derive

Quantile = Annotated[float, Field(gt=0, le=0.5)]
"""Above 0, up to 0.5: a share of the population at either end."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How a member goes on from its pause.

    Args:
        trial: The member.
        epoch: After which epoch.
        source: The trial whose checkpoint of that epoch it takes; None: its own.
        params: By dotted path, from here on.
        reason: In words, with the figures.
    """

    trial: int
    epoch: int
    source: int | None
    params: Mapping[str, Any]
    reason: str


@runtime_checkable
class Population(Scheduler, Protocol):
    """A scheduler whose trials wait for each other."""

    interval: int
    """Epochs from pause to pause: a checkpoint must stand at each multiple."""

    def begin(self, trial: int, params: Mapping[str, Any]) -> None:
        """A member has come, and has not trained yet."""

    def leave(self, trial: int) -> None:
        """A member has ended, well or not; nobody waits for it any more."""

    def due(self, *, complete: bool) -> Sequence[Turn]:
        """The turns of the members whose generation is whole, less those that were taken.

        Args:
            complete: No more members will come.
        """

    def take(self, turn: Turn) -> None:
        """A turn that was due has been written down: the member is on its way."""


@dataclass(slots=True)
class _Member:
    params: Mapping[str, Any]
    epoch: int = 0
    """Of the last generation that it has come to."""
    value: float = math.nan
    is_paused: bool = False


@dataclass(slots=True)
class PopulationBasedTraining:
    """The members of a population and the generations that they wait for.

    Args:
        mode: ``max`` or ``min``.
        seed: Every draw derives from it, the epoch and the trial.
        space: What may be tried.
        interval: Epochs of a generation.
        quantile: Share of the members at either end.
        resample_probability: How often a hyperparameter is drawn anew rather than moved.
        mutable: Paths that are perturbed.
    """

    mode: str
    seed: int
    space: Mapping[str, Range]
    interval: int
    quantile: float
    resample_probability: float
    mutable: Sequence[str]
    _members: dict[int, _Member] = field(default_factory=dict)
    _rest: dict[int, Turn] = field(default_factory=dict)
    """What is left of a generation of which a part has been taken."""

    def begin(self, trial: int, params: Mapping[str, Any]) -> None:
        """A member has come; the others of its generation wait for it."""
        self._members.setdefault(trial, _Member(dict(params)))

    def judge(self, trial: int, epoch: int, value: float) -> Verdict | None:
        """Pause at the end of each generation."""
        member = self._members[trial]
        if epoch % self.interval or epoch < member.epoch:
            return None
        if epoch > member.epoch:
            member.epoch, member.value, member.is_paused = epoch, value, True
        return self._pause(member) if member.is_paused else None

    def leave(self, trial: int) -> None:
        """Wait no more for a member that has ended; who was to take its weights keeps its own."""
        self._members.pop(trial, None)
        self._rest.pop(trial, None)
        for turn in self._rest.values():
            if turn.source == trial:
                own = self._members[turn.trial].params
                reason = f"keeps its own: trial {trial}, whose weights it was to take, has ended"
                self._rest[turn.trial] = replace(turn, source=None, params=own, reason=reason)

    def due(self, *, complete: bool) -> Sequence[Turn]:
        """The turns of the first generation that all have come to or are past.

        Args:
            complete: No more members will come.
        """
        if self._rest:
            return list(self._rest.values())
        waiting = [member.epoch for member in self._members.values() if member.is_paused]
        if not complete or not waiting:
            return []
        epoch = min(waiting)
        is_whole = all(member.epoch >= epoch for member in self._members.values())
        return self._generation(epoch) if is_whole else []

    def take(self, turn: Turn) -> None:
        """Have a member go on; the turns of its generation are settled by the first one taken."""
        if not self._rest:
            self._rest = {due.trial: due for due in self._generation(turn.epoch)}
        self._rest.pop(turn.trial)
        member = self._members[turn.trial]
        member.params, member.is_paused = dict(turn.params), False

    def _pause(self, member: _Member) -> Verdict:
        return Verdict(False, f"{member.value:.6g} at epoch {member.epoch}, waits for the others", pause=True)

    def _generation(self, epoch: int) -> list[Turn]:
        """The turns of all who wait at an epoch, from the best to the worst."""
        sign = -1.0 if self.mode == "max" else 1.0
        members = {n: m for n, m in self._members.items() if m.is_paused and m.epoch == epoch}
        ranked = sorted(members, key=lambda number: (sign * members[number].value, number))
        cut = min(max(1, int(len(ranked) * self.quantile)), len(ranked) // 2)
        return [
            self._turn(number, epoch, place=place, best=ranked[:cut], of=len(ranked))
            for place, number in enumerate(ranked, 1)
        ]

    def _turn(self, trial: int, epoch: int, *, place: int, best: Sequence[int], of: int) -> Turn:
        member = self._members[trial]
        standing = f"{member.value:.6g} at epoch {epoch}, {place} of {of}"
        rng = random.Random(derive(self.seed, "pbt", epoch, trial))
        source = best[int(rng.random() * len(best))] if place > of - len(best) else trial
        if self._members[source].value == member.value:
            return Turn(trial, epoch, None, member.params, f"{standing}: keeps its own")
        taken = self._members[source]
        reason = f"{standing}: takes from trial {source}, {taken.value:.6g}"
        return Turn(trial, epoch, source, self._explore(taken.params, rng), reason)

    def _explore(self, params: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        """Params with those that may change perturbed; a path that is not tried stays away."""
        probability = self.resample_probability
        moved = {
            path: perturbed(params[path], self.space[path], resample_probability=probability, rng=rng)
            for path in self.mutable
            if path in params
        }
        return {**params, **moved}


def pbt(
    metric: str,
    mode: str,
    seed: int,
    *,
    space: Mapping[str, Range],
    trials: int | None,
    interval: PositiveInt = 2,
    quantile: Quantile = 0.25,
    resample_probability: Fraction = 0.25,
    mutable: list[str] | None = None,
) -> Scheduler:
    """Population based training: the worst trials go on from the weights of the best.

    All trials of the sweep are its population, and none is stopped. They train in turns where there
    are more of them than workers.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Same seed and same values told, same turns.
        space: What may be tried.
        trials: How many trials there will be, where that is known.
        interval: Epochs after which all wait for each other, again and again.
        quantile: This share of the trials, the worst, take the weights of as many best ones; at
            least one does.
        resample_probability: How often a hyperparameter is drawn anew from its range; else a number
            is multiplied by 0.8 or 1.2, and a choice moves to one beside it.
        mutable: Paths of the space that change with the weights; null: those of the optimizer, the
            schedule, training.batch_size, accumulate, max_grad_norm, l1 and ema_decay, and floats
            of the model. No component's name, and no choice that others depend on by ``when``.

    Raises:
        ConfigError: A population of one, or no path that can change.

    Source:
        Jaderberg et al., "Population Based Training of Neural Networks", 2017, with truncation
        selection. Theirs is asynchronous; here a generation is whole before anyone goes on.
    """
    if trials is not None and trials < 2:
        problem = Problem("sweep.trials", f"a population needs at least 2 (got {trials}): raise it")
        raise ConfigError("experiment", [problem])
    paths = mutable_paths(space) if mutable is None else mutable
    _check(paths, space)
    return PopulationBasedTraining(mode, seed, space, interval, quantile, resample_probability, tuple(paths))


def _check(paths: Sequence[str], space: Mapping[str, Range]) -> None:
    found = []
    if not paths:
        found.append("is empty: nothing in sweep.space can change in mid-training; add optimizer.lr")
    for path in paths:
        if path not in space:
            found.append(f"{path!r} is not in sweep.space; {suggestion(path, space)}")
        elif why := obstacle(path, space):
            found.append(f"{path} {why}: take it out")
    if found:
        raise ConfigError("experiment", [Problem("sweep.scheduler.mutable", text) for text in found])
