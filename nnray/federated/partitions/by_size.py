"""Partitions that differ in how many examples a client has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnray.federated.partitions.partition import Index, Partition, by_owner, dealt, require_enough
from nnray.fields import Positive, PositiveInt


def quantity_dirichlet(
    labels: Index,
    num_clients: int,
    rng: np.random.Generator,
    *,
    alpha: Positive = 0.5,
    min_size: PositiveInt = 1,
) -> Partition:
    """Clients with the same mix of labels and sizes in proportions drawn from a Dirichlet distribution.

    Args:
        alpha: Concentration: small ones make a few clients large.
        min_size: Fewest examples of a client; what is above it is shared out.

    Source: Li et al., "Federated learning on non-IID data silos", 2022, section IV; there the draw is
        repeated until no client is too small, here the least is given first, so that any alpha is possible.
    """
    require_enough(labels, num_clients, least=min_size)
    return _cut(labels, rng.dirichlet([alpha] * num_clients), rng, least=min_size)


def quantity_lognormal(
    labels: Index,
    num_clients: int,
    rng: np.random.Generator,
    *,
    sigma: Positive = 1.0,
    min_size: PositiveInt = 1,
) -> Partition:
    """Clients with the same mix of labels and sizes in proportion to log-normal draws.

    Args:
        sigma: Standard deviation of the logarithm of a client's size.
        min_size: Fewest examples of a client; what is above it is shared out.

    Source: The synthetic clients of Li et al., "Federated optimization in heterogeneous networks", 2020: its
        text says a power law, its code draws log-normal sizes.
    """
    require_enough(labels, num_clients, least=min_size)
    logs = rng.normal(0.0, sigma, num_clients)
    # Only proportions count, and this way no sigma overflows.
    return _cut(labels, np.exp(logs - logs.max()), rng, least=min_size)


def _cut(labels: Index, weights: NDArray[np.float64], rng: np.random.Generator, *, least: int) -> Partition:
    """Shuffled examples in parts of these proportions, none smaller than ``least``."""
    spare = len(labels) - least * len(weights)
    ends = np.floor(np.cumsum(weights / weights.sum()) * spare + 0.5).astype(np.int64)
    ends = np.minimum(ends, spare)
    ends[-1] = spare
    sizes = least + np.diff(ends, prepend=0)
    return by_owner(dealt(rng.permutation(len(labels)), sizes), len(weights))
