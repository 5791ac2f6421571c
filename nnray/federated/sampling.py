"""Who takes part in a round. A sampler takes time and memory of the cohort, not of all clients.

Who is chosen depends on the generator and never on how many spares are asked for, so that a run which
over-selects differs from one that doesn't only where a client fails.

Rounds are counted from 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnray.errors import DataError
from nnray.federated.availability import available_in, read_trace
from nnray.fields import NonNegativeInt

Index = NDArray[np.int64]
_DENSE = 4
"""Beyond one client in so many, a shuffle of all costs less than keeping track of who has moved."""


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Who takes part in a round.

    Args:
        chosen: Numbers of clients, ascending, all different.
        spares: Who steps in for one that fails, in the order in which they were drawn.
    """

    chosen: Index
    spares: Index

    def __len__(self) -> int:
        return len(self.chosen)


def with_client(cohort: Cohort, client: int) -> Cohort:
    """A cohort that has a client in any case."""
    if client in cohort.chosen:
        return cohort
    chosen = np.sort(np.append(cohort.chosen, client))
    return Cohort(chosen, cohort.spares[cohort.spares != client])


def uniform(num_clients: int, rng: np.random.Generator, *, cohort: int, spare: NonNegativeInt = 0) -> Cohort:
    """So many clients, every set of them equally likely."""
    if cohort > num_clients:
        raise DataError(f"federated.cohort: {cohort} of {num_clients} clients; allowed: 1 to {num_clients}")
    return _drawn(num_clients, rng, count=cohort, spare=spare)


def poisson(num_clients: int, rng: np.random.Generator, *, cohort: int) -> Cohort:
    """Each client by a toss of its own, with probability cohort / clients; there may be none.

    What accountants of privacy assume. Spares would change the probabilities, so there are none.

    Source: Abadi et al., "Deep learning with differential privacy", 2016, section 3.1 (lots).
    """
    if cohort > num_clients:
        raise DataError(f"federated.cohort: {cohort} of {num_clients} clients; allowed: 1 to {num_clients}")
    # The number of heads first, then who: the same distribution as a toss for each of a million clients.
    return _drawn(num_clients, rng, count=int(rng.binomial(num_clients, cohort / num_clients)), spare=0)


def trace(
    num_clients: int,
    rng: np.random.Generator,
    *,
    file: str,
    round: int,  # noqa: A002 - the name that the experiment's files and reports have for it
    cohort: int,
    spare: NonNegativeInt = 0,
) -> Cohort:
    """So many of the clients that a file tells to be there in a round; all of them if they are fewer.

    Args:
        file: JSON: a list over rounds of lists of the clients that are there, 0 to clients - 1; after the
            last round it begins again.
    """
    there = available_in(read_trace(file), round=round, num_clients=num_clients, file=file)
    drawn = _drawn(len(there), rng, count=min(cohort, len(there)), spare=spare)
    return Cohort(there[drawn.chosen], there[drawn.spares])


def _drawn(population: int, rng: np.random.Generator, *, count: int, spare: int) -> Cohort:
    """Draw ``count`` of ``population``, then up to ``spare`` of the rest."""
    order = _first(population, rng, count=count, more=min(spare, population - count))
    return Cohort(np.sort(order[:count]), order[count:])


def _first(population: int, rng: np.random.Generator, *, count: int, more: int) -> Index:
    """The first ``count + more`` of a random order; the first ``count`` are the same for any ``more``."""
    if count * _DENSE >= population:
        return rng.permutation(population)[: count + more]
    # Fisher and Yates's shuffle of 0 to population - 1, of which only what has moved is kept.
    moved: dict[int, int] = {}
    order = np.empty(count + more, dtype=np.int64)
    parts = (range(count), range(count, count + more))
    places = np.concatenate([rng.integers(np.array(part, dtype=np.int64), population) for part in parts])
    for at, place in enumerate(places.tolist()):
        order[at] = moved.get(place, place)
        moved[place] = moved.get(at, at)
    return order
