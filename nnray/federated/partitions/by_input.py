"""Partitions that differ in what a client's inputs look like: by who made them, or by added noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnray.data.groups import GroupReader
from nnray.errors import DataError
from nnray.federated.partitions.by_label import iid
from nnray.federated.partitions.partition import NOBODY, Index, Partition, by_owner
from nnray.fields import NonNegative


def natural(
    labels: Index, num_clients: int | None, rng: np.random.Generator, *, groups: GroupReader | None
) -> Partition:
    """A client for each writer or hospital that the data set tells of; the largest if there are more.

    Clients are in the order of the groups; with fewer clients than groups the others' examples are unused.

    Args:
        groups: Given by nnray: who each example came from.

    Raises:
        DataError: The data set doesn't tell, or tells of fewer.
    """
    if groups is None:
        raise DataError(
            "federated.partition: natural needs to know who each example came from, and this data set "
            "doesn't tell: take one that does, such as letters by writer or patients by hospital, or a "
            'function of your own that returns "groups"; or another partition'
        )
    known = groups()
    assert len(known.of) == len(labels), (len(known.of), len(labels))
    found, counts = np.unique(known.of, return_counts=True)
    wanted = len(found) if num_clients is None else num_clients
    if wanted > len(found):
        raise DataError(
            f"federated.clients: {wanted} clients, but the training examples come from {len(found)} "
            f"{known.kind}s; allowed: 1 to {len(found)}, or null for all"
        )
    largest = np.sort(found[np.argsort(-counts, kind="stable")[:wanted]])
    client = np.full(len(known.names), NOBODY, dtype=np.int64)
    client[largest] = np.arange(wanted)
    return by_owner(client[known.of], wanted, groups=largest)


def feature_noise(
    labels: Index, num_clients: int, rng: np.random.Generator, *, strength: NonNegative = 0.5
) -> Partition:
    """The iid split, with Gaussian noise on the inputs that grows with the client's number.

    Args:
        strength: Standard deviation of the last client's noise, in units of the inputs' own; the first
            client has the smallest share of it, not none.

    Source: Li et al., "Federated learning on non-IID data silos", 2022, section IV: variance
        ``sigma * i / N`` for client i of N; here the standard deviation grows in proportion, and is relative
        to that of each channel or feature, so that it means the same for tables and images.
    """
    share = np.arange(1, num_clients + 1) / num_clients
    return replace(iid(labels, num_clients, rng), noise=strength * share)
