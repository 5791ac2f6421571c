"""What noise costs: the epsilon of steps taken so far, by the accountants of dp-accounting.

A step adds Gaussian noise to a sum of clipped terms. ``noise_multiplier`` is its standard deviation over the
sensitivity of the sum: the most that it changes by as one unit, a client or an example, comes or goes. Under
Poisson sampling each unit takes part by a toss of its own, and neighbours differ by one that is added or
removed: the sensitivity is the clip norm. Under fixed-size sampling they differ by one that is replaced: the
sensitivity is twice the clip norm.

dp-accounting is imported where it is used: it takes most of a second.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from nnray.errors import ConfigError, Problem
from nnray.privacy.tree import tree_sensitivity

Accountant = Literal["rdp", "pld"]
"""Renyi differential privacy, and privacy loss distributions, which are tighter."""
Sampling = Literal["poisson", "fixed"]
INTERVAL = 1e-4
"""Of discretised privacy losses; they are rounded up, so that a coarser one gives a larger epsilon."""


@dataclass(frozen=True, slots=True)
class Trees:
    """Sums released along binary trees, which need no sampling.

    Args:
        restart_every: Steps of a tree.
        max_participations: Steps of a tree in which a unit counts.
    """

    restart_every: int
    max_participations: int = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps that were alike.

    Args:
        noise_multiplier: Of each step; of each node of a tree.
        rate: Probability that a unit takes part in a step; 1 for all of them in every step.
        steps: How many.
        sampling: How who takes part is drawn.
        trees: Along which sums are released; the rate then doesn't matter. None for each step by itself.
    """

    noise_multiplier: float
    rate: float = 1.0
    steps: int = 1
    sampling: Sampling = "poisson"
    trees: Trees | None = None


def epsilon(
    *,
    noise_multiplier: float,
    rate: float,
    steps: int,
    delta: float,
    accountant: Accountant = "pld",
    sampling: Sampling = "poisson",
) -> float:
    """The epsilon of so many steps at the given delta.

    Args:
        noise_multiplier: Standard deviation of the noise over the sensitivity.
        rate: Probability that a unit takes part in a step.
        steps: Steps taken.
        delta: Of the guarantee.
        accountant: How it is computed.
        sampling: Poisson, neighbours by adding or removing one; fixed-size without replacement, neighbours by
            replacing one, which the RDP accountant knows only.

    Raises:
        ConfigError: A value is out of its range; all that are.
    """
    return epsilon_of([Phase(noise_multiplier, rate, steps, sampling)], delta=delta, accountant=accountant)


def epsilon_of(
    phases: Sequence[Phase], *, delta: float, accountant: Accountant = "pld", interval: float = INTERVAL
) -> float:
    """The epsilon of all phases together, at the given delta.

    Args:
        phases: In any order; neighbours are the same in all of them.
        delta: Of the guarantee.
        accountant: How it is computed.
        interval: Of discretised privacy losses, for ``pld``: a coarser one is faster.

    Raises:
        ConfigError: A value is out of its range; all that are.
    """
    require_sound(phases, delta=delta, accountant=accountant)
    return _epsilon_of(_gathered(phases), delta, accountant, interval)


def require_sound(phases: Sequence[Phase], *, delta: float, accountant: Accountant) -> None:
    """Refuse what no accountant can answer.

    Raises:
        ConfigError: A value is out of its range; all that are.
    """
    found = list(dict.fromkeys(_problems(phases, delta, accountant)))
    if found:
        raise ConfigError("privacy", found)


def _problems(phases: Sequence[Phase], delta: float, accountant: Accountant) -> Iterator[Problem]:
    if not 0 < delta < 1:
        yield Problem("delta", f"must be a number above 0 and below 1, such as 1e-5 (got {delta})")
    for phase in phases:
        if not 0 < phase.noise_multiplier < math.inf:
            yield Problem("noise_multiplier", f"must be a number above 0 (got {phase.noise_multiplier})")
        if not 0 < phase.rate <= 1:
            yield Problem("rate", f"must be a number above 0 and at most 1 (got {phase.rate})")
        if phase.steps < 0:
            yield Problem("steps", f"must be an integer from 0 on (got {phase.steps})")
        if phase.sampling == "fixed" and accountant != "rdp":
            yield Problem(
                "accountant",
                f"of cohorts of a fixed size can only be 'rdp' (got {accountant!r}); or sample Poisson",
            )
    if len({phase.sampling for phase in phases if not phase.trees}) > 1:
        yield Problem("sampling", "must be the same in all phases: neighbours are not the same in each")


def _gathered(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Phases that are alike as one, in an order that doesn't depend on theirs; trees as single steps."""
    steps = dict[Phase, int]()
    for phase in phases:
        alike = replace(_as_gaussian(phase), steps=0)
        steps[alike] = steps.get(alike, 0) + (min(phase.steps, 1) if phase.trees else phase.steps)
    found = [replace(phase, steps=count) for phase, count in steps.items() if count]
    return tuple(sorted(found, key=lambda phase: (phase.noise_multiplier, phase.rate)))


def _as_gaussian(phase: Phase) -> Phase:
    """Trees as the one Gaussian step that they amount to."""
    if not phase.trees:
        return phase
    if not phase.steps:
        return replace(phase, steps=0, trees=None)
    full, begun = divmod(phase.steps, phase.trees.restart_every)
    times = phase.trees.max_participations
    squares = full * tree_sensitivity(phase.trees.restart_every, max_participations=times) ** 2
    squares += tree_sensitivity(begun, max_participations=times) ** 2
    return Phase(phase.noise_multiplier / math.sqrt(squares), sampling=phase.sampling)


@lru_cache(maxsize=4096)
def _epsilon_of(phases: tuple[Phase, ...], delta: float, accountant: Accountant, interval: float) -> float:
    if not phases:
        return 0.0
    return _by_rdp(phases, delta) if accountant == "rdp" else _by_pld(phases, delta, interval)


def _by_rdp(phases: tuple[Phase, ...], delta: float) -> float:
    from dp_accounting import NeighboringRelation, SelfComposedDpEvent
    from dp_accounting.rdp import RdpAccountant

    replaced = phases[0].sampling == "fixed"
    relation = NeighboringRelation.REPLACE_ONE if replaced else NeighboringRelation.ADD_OR_REMOVE_ONE
    accountant = RdpAccountant(neighboring_relation=relation)
    with _quiet():
        for phase in phases:
            accountant.compose(SelfComposedDpEvent(_event(phase), phase.steps))
    return float(accountant.get_epsilon(delta))


def _event(phase: Phase) -> Any:
    """A step of a phase in the words of dp-accounting."""
    import dp_accounting as dp

    gaussian = dp.GaussianDpEvent(phase.noise_multiplier)
    if phase.rate == 1:
        return gaussian
    if phase.sampling == "poisson":
        return dp.PoissonSampledDpEvent(phase.rate, gaussian)
    # Only the ratio of the two counts.
    return dp.SampledWithoutReplacementDpEvent(_ALL, phase.rate * _ALL, gaussian)


_ALL = 1 << 30


def _by_pld(phases: tuple[Phase, ...], delta: float, interval: float) -> float:
    first, *others = (_step_pld(p.noise_multiplier, p.rate, interval).self_compose(p.steps) for p in phases)
    for other in others:
        first = first.compose(other)
    return float(first.get_epsilon_for_delta(delta))


@lru_cache(maxsize=16)
def _step_pld(noise_multiplier: float, rate: float, interval: float) -> Any:
    """The losses of one step: what takes longest of a search for the number of steps."""
    from dp_accounting.pld.privacy_loss_distribution import (
        from_gaussian_mechanism,
    )

    return from_gaussian_mechanism(
        noise_multiplier, sampling_prob=rate, value_discretization_interval=interval
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself which orders dp-accounting leaves out: those that it has are enough, and are a bound."""
    logger = logging.getLogger("absl")
    logger.addFilter(_says_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_says_nothing)


def _says_nothing(record: logging.LogRecord) -> bool:
    return "failed to converge" not in record.getMessage()
