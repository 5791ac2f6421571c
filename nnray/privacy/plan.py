"""Of epsilon, noise and rounds: two are given, and the third is found."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnray.errors import ConfigError, Problem
from nnray.privacy.accounting import Accountant, Phase, Sampling, Trees, epsilon_of
from nnray.privacy.calibrate import MOST_STEPS, noise_of, steps_within


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run may cost, with how much noise, for how long.

    Args:
        epsilon: That is kept to.
        noise_multiplier: Standard deviation of the noise over the sensitivity.
        rounds: Steps.
        delta: Of the guarantee.
        rate: Probability that a unit takes part in a round.
        accountant: How epsilon is computed.
        sampling: How who takes part is drawn.
        trees: Along which sums are released; None for each round by itself.
        found: Which of the three was not given.
        spent: What the rounds come to.
    """

    epsilon: float
    noise_multiplier: float
    rounds: int
    delta: float
    rate: float
    accountant: Accountant
    sampling: Sampling
    trees: Trees | None
    found: str
    spent: float

    def to_dict(self) -> dict[str, Any]:
        """As one flat object."""
        rest = {key: value for key, value in asdict(self).items() if key != "trees"}
        return {**rest, **(asdict(self.trees) if self.trees else {})}

    def summary(self) -> str:
        """What was found, and what it means."""
        by = f"{self.rounds} rounds with noise {self.noise_multiplier:.4f}"
        bound = f"epsilon {self.epsilon:.6g} at delta {self.delta:g}"
        lead = {
            "epsilon": f"{bound}: what {by} come to",
            # Rounded up: what is copied from here must keep to epsilon, too.
            "noise": f"noise {math.ceil(1e4 * self.noise_multiplier) / 1e4:.4f}: so much keeps {self.rounds} "
            f"rounds to {bound}",
            "rounds": f"{self.rounds} rounds: so many keep to {bound} with noise "
            f"{self.noise_multiplier:g} (they come to {self.spent:.4f})",
        }
        return "\n".join((lead[self.found], self._who(), self._unit()))

    def _who(self) -> str:
        neighbours = f"neighbours differ by one that is {self._neighbours}"
        if self.trees:
            every = f"trees of {self.trees.restart_every} rounds" if self._restarts else "one tree"
            times = f"in each of which one counts {self.trees.max_participations} time(s)"
            return f"cohorts in any order, {every}, {times}; {neighbours}"
        if self.rate == 1:
            return f"all take part in every round; {neighbours}"
        how = "by a toss of its own" if self.sampling == "poisson" else "in cohorts of a fixed size"
        return f"each takes part in a round with probability {self.rate:g}, {how}; {neighbours}"

    @property
    def _restarts(self) -> bool:
        return self.trees is not None and self.trees.restart_every < self.rounds

    @property
    def _neighbours(self) -> str:
        return "added or removed" if self.sampling == "poisson" else "replaced"

    def _unit(self) -> str:
        twice = "" if self.sampling == "poisson" else "twice "
        return (
            f"noise is over {twice}the clip norm; one is a client or an example, as privacy.unit says; "
            f"accountant {self.accountant}"
        )


def plan(
    *,
    delta: float,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    rounds: int | None = None,
    rate: float = 1.0,
    accountant: Accountant = "pld",
    sampling: Sampling = "poisson",
    trees: Trees | None = None,
) -> Plan:
    """Find the one of epsilon, noise and rounds that is not given.

    Args:
        delta: Of the guarantee.
        epsilon: To be kept to.
        noise_multiplier: Standard deviation of the noise over the sensitivity.
        rounds: Steps.
        rate: Probability that a unit takes part in a round.
        accountant: How epsilon is computed.
        sampling: How who takes part is drawn.
        trees: Along which sums are released; the rate then doesn't matter.

    Raises:
        ConfigError: Not two of the three are given, a value is out of its range, or there is no answer.
    """
    given = {"epsilon": epsilon, "noise": noise_multiplier, "rounds": rounds}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) != 1:
        names = ", ".join(name for name in given if name not in missing) or "none"
        message = f"give two of epsilon, noise and rounds, and the third is found (got {names})"
        raise ConfigError("privacy", [Problem("", message)])
    if rounds is not None and not 0 < rounds <= MOST_STEPS:
        message = f"must be an integer from 1 to {MOST_STEPS} (got {rounds})"
        raise ConfigError("privacy", [Problem("rounds", message)])
    phase = Phase(1.0 if noise_multiplier is None else noise_multiplier, rate, rounds or 1, sampling, trees)
    phase = _completed(phase, missing[0], epsilon, delta=delta, accountant=accountant)
    spent = epsilon_of([phase], delta=delta, accountant=accountant)
    return Plan(
        epsilon=spent if epsilon is None else epsilon,
        noise_multiplier=phase.noise_multiplier,
        rounds=phase.steps,
        delta=delta,
        rate=rate,
        accountant=accountant,
        sampling=sampling,
        trees=trees,
        found=missing[0],
        spent=spent,
    )


def _completed(
    phase: Phase, missing: str, epsilon: float | None, *, delta: float, accountant: Accountant
) -> Phase:
    if epsilon is None:
        return phase
    if missing == "noise":
        noise = noise_of(phase, epsilon, delta=delta, accountant=accountant)
        return replace(phase, noise_multiplier=noise)
    steps = steps_within(epsilon, phase, delta=delta, accountant=accountant)
    if not steps:
        one = epsilon_of([replace(phase, steps=1)], delta=delta, accountant=accountant)
        message = f"is less than the first round comes to, which is {one:.4g}: add noise (got {epsilon:g})"
        raise ConfigError("privacy", [Problem("epsilon", message)])
    return replace(phase, steps=steps)
