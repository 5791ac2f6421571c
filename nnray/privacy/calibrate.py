"""The inverse questions: how much noise keeps to an epsilon, and how many steps it lasts for.

Epsilon falls with noise and grows with steps, both nearly along a power law: so both are searched by
interpolating logarithms, a handful of evaluations where halving would take dozens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from nnray.errors import ConfigError, Problem
from nnray.privacy.accounting import INTERVAL, Accountant, Phase, Sampling, epsilon_of, require_sound

_LEAST_NOISE, _MOST_NOISE = 0.02, 1e6
MOST_STEPS = 1_000_000
"""Beyond so many steps nobody asks."""
_CLOSE = 2e-6
"""How closely noise is found, relatively; on the side that keeps to epsilon."""
_FARTHEST = 1.5
"""Logarithm of the factor by which a search goes on at a time."""
_PATIENCE = 12
"""Guesses after which a search halves instead."""


def noise_for(
    epsilon: float,
    *,
    rate: float,
    steps: int,
    delta: float,
    accountant: Accountant = "pld",
    sampling: Sampling = "poisson",
) -> float:
    """The least noise multiplier with which so many steps keep to an epsilon.

    Args:
        epsilon: Not to be exceeded.
        rate: Probability that a unit takes part in a step.
        steps: To be taken; 1 or more.
        delta: Of the guarantee.
        accountant: How epsilon is computed.
        sampling: As in `accounting.epsilon`.

    Raises:
        ConfigError: A value is out of its range, or no noise of a sensible size does it.
    """
    if steps < 1:
        raise ConfigError("privacy", [Problem("steps", f"must be an integer above 0 (got {steps})")])
    return noise_of(Phase(1.0, rate, steps, sampling), epsilon, delta=delta, accountant=accountant)


def noise_of(phase: Phase, epsilon: float, *, delta: float, accountant: Accountant = "pld") -> float:
    """The least noise multiplier with which a phase keeps to an epsilon; the phase's own doesn't matter.

    Args:
        phase: With 1 step or more; along trees, too.
        epsilon: Not to be exceeded.
        delta: Of the guarantee.
        accountant: How epsilon is computed.

    Raises:
        ConfigError: A value is out of its range, or no noise of a sensible size does it.
    """
    _require_epsilon(epsilon)
    phase = replace(phase, noise_multiplier=1.0)
    require_sound([phase], delta=delta, accountant=accountant)
    return _noise_of(phase, epsilon, delta, accountant)


@lru_cache(maxsize=64)
def _noise_of(phase: Phase, epsilon: float, delta: float, accountant: Accountant) -> float:
    found = 1.0
    for way, interval in _ways(accountant):

        def spent(noise: float, way: Accountant = way, interval: float = interval) -> float:
            phases = [replace(phase, noise_multiplier=noise)]
            return epsilon_of(phases, delta=delta, accountant=way, interval=interval)

        found = _noise_at(spent, epsilon, start=found)
    return found


def _ways(accountant: Accountant) -> list[tuple[Accountant, float]]:
    """What is searched with, one after the other: each begins where a cheaper one has ended."""
    return [("pld", 10 * INTERVAL), ("pld", INTERVAL)] if accountant == "pld" else [("rdp", INTERVAL)]


def _noise_at(spent: Callable[[float], float], epsilon: float, *, start: float) -> float:
    """Where a falling function is at a target, or closely below it."""
    low, high = 0.0, math.inf
    noise, known = start, list[tuple[float, float]]()
    while high > low * (1 + _CLOSE):
        over = _log_ratio(spent(noise), epsilon)
        if -_CLOSE <= over <= 0:
            return noise
        low, high = (noise, high) if over > 0 else (low, noise)
        if low >= _MOST_NOISE:
            _refuse_epsilon(epsilon, f"no noise multiplier up to {_MOST_NOISE:g} keeps to it")
        if high <= _LEAST_NOISE:
            _refuse_epsilon(epsilon, f"a noise multiplier of {_LEAST_NOISE:g} keeps to it already")
        known.append((math.log(noise), over))
        noise = noise * math.exp(_move(known, aim=-_CLOSE / 2, slope=-1.0))
        if not low < noise < high:
            noise = math.sqrt(low * high)
    return high


def _move(known: list[tuple[float, float]], *, aim: float, slope: float) -> float:
    """How far to go from the last of some points towards an aim, by the line through it and the one before.

    Args:
        known: Logarithms of where, and of how far above the target.
        aim: How far above the target to go.
        slope: Where there is no line yet, or one that goes the other way.
    """
    x, y = known[-1]
    if len(known) > 1 and math.isfinite(y - known[-2][1]):
        found = (y - known[-2][1]) / (x - known[-2][0])
        slope = found if found * slope > 0 else slope
    return min(max((aim - y) / slope, -_FARTHEST), _FARTHEST)


def _log_ratio(value: float, target: float) -> float:
    return math.log(value / target) if value > 0 else -math.inf


def steps_for(
    epsilon: float,
    *,
    noise_multiplier: float,
    rate: float,
    delta: float,
    accountant: Accountant = "pld",
    sampling: Sampling = "poisson",
) -> int:
    """The most steps that keep to an epsilon; 0 where already the first one exceeds it.

    Args:
        epsilon: Not to be exceeded.
        noise_multiplier: Standard deviation of the noise over the sensitivity.
        rate: Probability that a unit takes part in a step.
        delta: Of the guarantee.
        accountant: How epsilon is computed.
        sampling: As in `accounting.epsilon`.

    Raises:
        ConfigError: A value is out of its range.
    """
    phase = Phase(noise_multiplier, rate, 0, sampling)
    return steps_within(epsilon, phase, delta=delta, accountant=accountant)


def steps_within(
    epsilon: float,
    phase: Phase,
    *,
    spent: Sequence[Phase] = (),
    delta: float,
    accountant: Accountant = "pld",
) -> int:
    """The most steps that a phase may have, at most `MOST_STEPS`, after what has been spent before.

    Args:
        epsilon: Of both together, not to be exceeded.
        phase: The one that goes on; its own steps don't matter.
        spent: Phases before.
        delta: Of the guarantee.
        accountant: How epsilon is computed.

    Raises:
        ConfigError: A value is out of its range.
    """
    _require_epsilon(epsilon)
    found = 1
    for way, interval in _ways(accountant):

        def after(steps: int, way: Accountant = way, interval: float = interval) -> float:
            phases = [*spent, replace(phase, steps=steps)]
            return epsilon_of(phases, delta=delta, accountant=way, interval=interval)

        found = _steps_at(after, epsilon, start=max(found, 1))
        if found == MOST_STEPS:
            break  # a finer interval gives a smaller epsilon, and takes long here
    return found


def _steps_at(after: Callable[[int], float], epsilon: float, *, start: int) -> int:
    """The largest number at which a growing function isn't above a target."""
    low, high = 0, MOST_STEPS + 1
    steps, known = start, list[tuple[float, float]]()
    while high - low > 1:
        over = _log_ratio(after(steps), epsilon)
        low, high = (low, steps) if over > 0 else (steps, high)
        known.append((math.log(steps), over))
        guess = steps * math.exp(_move(known, aim=0.0, slope=0.5))
        # From below to beyond the crossing, from above to before it: both ends close in.
        steps = math.floor(guess) + 1 if over <= 0 else math.ceil(guess) - 1
        steps = min(max(steps, low + 1), high - 1) if len(known) < _PATIENCE else (low + high) // 2
    return low


def _require_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < math.inf:
        raise ConfigError("privacy", [Problem("epsilon", f"must be a number above 0 (got {epsilon})")])


def _refuse_epsilon(epsilon: float, why: str) -> None:
    raise ConfigError("privacy", [Problem("epsilon", f"is out of reach: {why} (got {epsilon:g})")])
