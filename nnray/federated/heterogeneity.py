"""How unlike the clients are: their sizes, their labels, and how far these are from those of all together.

Source: Lin, "Divergence measures based on the Shannon entropy", 1991; the distance is the square root of the
    divergence in bits, a metric from 0 to 1 (Endres and Schindelin, 2003).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnray.federated.partitions.partition import Index, Partition

Floats = NDArray[np.float64]
_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Heterogeneity:
    """How unlike the clients of a partition are.

    Args:
        sizes: Examples of each client, ``[clients]``.
        counts: Examples of each label, ``[clients, K] int64``.
        distances: Jensen-Shannon distance of each client's labels to those of all clients, 0 to 1.
        clients: Names of the clients.
        classes: Names of the labels.
        noise: Of each client's inputs, in units of their own deviation; None for none.
        unused: Examples that no client has.
    """

    sizes: Index
    counts: Index
    distances: Floats
    clients: tuple[str, ...]
    classes: tuple[str, ...]
    noise: Floats | None = None
    unused: int = 0

    @property
    def num_classes(self) -> Index:
        """How many different labels each client has."""
        present: Index = (self.counts > 0).sum(axis=1)
        return present

    def summary(self) -> str:
        """The figures in a few lines."""
        kinds, sizes, far, all_ = self.num_classes, self.sizes, self.distances, len(self.classes)
        lines = [
            f"{len(sizes)} clients, {sizes.sum()} examples"
            + (f", {self.unused} unused" if self.unused else ""),
            f"examples a client: {sizes.min()} to {sizes.max()}, median {np.median(sizes):g}",
            f"classes a client: {kinds.min()} to {kinds.max()}, mean {kinds.mean():.1f}, of {all_}",
            f"Jensen-Shannon distance to all: {far.min():.3f} to {far.max():.3f}, mean {far.mean():.3f}",
        ]
        if self.noise is not None:
            lines.append(f"noise on the inputs: {self.noise.min():.3g} to {self.noise.max():.3g} deviations")
        return "\n".join(lines)

    def columns(self) -> tuple[str, ...]:
        """Headings of `rows`."""
        return ("client", "examples", "distance", *self.classes)

    def rows(self, most: int | None = _LISTED) -> Iterator[tuple[str, ...]]:
        """A line a client, as texts.

        Args:
            most: So many clients at most, the first; None for all.
        """
        for client in range(len(self.sizes))[:most]:
            counts = map(str, self.counts[client].tolist())
            yield self.clients[client], str(self.sizes[client]), f"{self.distances[client]:.3f}", *counts


def report(
    partition: Partition,
    labels: Index,
    *,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
) -> Heterogeneity:
    """Measure a partition.

    Args:
        partition: Who has which examples.
        labels: Of all training examples.
        classes: Names of the labels, 0 to K - 1.
        groups: Names of the natural groups, where clients are such.
    """
    num_classes = len(classes)
    cells = partition.owners * num_classes + labels[partition.examples]
    counts = np.bincount(cells, minlength=len(partition) * num_classes).reshape(len(partition), num_classes)
    return Heterogeneity(
        partition.sizes,
        counts,
        jensen_shannon(counts, counts.sum(axis=0)),
        _names(partition, groups),
        tuple(classes),
        partition.noise,
        partition.unused,
    )


def jensen_shannon(counts: Index, pooled: Index) -> Floats:
    """Distance of each row's distribution to another, 0 to 1.

    Shape:
        counts: ``[clients, K]``, no row all zero.
        pooled: ``[K]``, not all zero.
    """
    p = counts / counts.sum(axis=1, keepdims=True)
    q = pooled / pooled.sum()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(np.broadcast_to(q, p.shape), middle)) / 2
    distances: Floats = np.sqrt(np.clip(divergence, 0.0, 1.0))
    return distances


def _relative_entropy(p: Floats, m: Floats) -> Floats:
    """In bits, by row; 0 log 0 is 0."""
    terms = np.zeros_like(p)
    np.divide(p, m, out=terms, where=p > 0)
    np.log2(terms, out=terms, where=p > 0)
    total: Floats = (p * terms).sum(axis=1)
    return total


def _names(partition: Partition, groups: Sequence[str] | None) -> tuple[str, ...]:
    if partition.groups is None or groups is None:
        return tuple(map(str, range(len(partition))))
    return tuple(groups[group] for group in partition.groups.tolist())
