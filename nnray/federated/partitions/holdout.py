"""Examples that a client keeps back to be evaluated on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnray.errors import DataError
from nnray.federated.partitions.partition import Partition, starts_of


def hold_out(
    partition: Partition, rng: np.random.Generator, *, share: float, overlap: int = 0
) -> tuple[Partition, Partition]:
    """Cut each client's examples in two: what it trains on, and what it is evaluated on.

    Args:
        partition: Who has which.
        rng: Says which are kept back, where none share values.
        share: Kept back of each client, rounded to whole examples; a client keeps at least one to train on.
        overlap: How many examples behind one share values with it. A client's last ones are then kept back,
            and so many before them are left out, for they tell some of those.

    Raises:
        DataError: No client keeps any back.
    """
    sizes = partition.sizes
    most = np.maximum(sizes - 1 - overlap, 0)
    kept_back = np.minimum(np.floor(sizes * share + 0.5).astype(np.int64), most)
    if not kept_back.any():
        behind = f", {overlap} of which share values with the next one" if overlap else ""
        raise DataError(
            f"federated.holdout: {share:g} of the examples of a client, {sizes.max()} at most{behind}, is "
            "not one: hold more back, or have fewer clients"
        )
    owners = partition.owners
    order = np.lexsort((-partition.examples if overlap else rng.random(len(owners)), owners))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - partition.starts[owners]
    is_held = place < kept_back[owners]
    gap = np.where(kept_back > 0, overlap, 0)
    is_kept = place >= (kept_back + gap)[owners]
    train, held = (
        replace(partition, examples=partition.examples[chosen], starts=starts_of(count))
        for chosen, count in ((is_kept, sizes - kept_back - gap), (is_held, kept_back))
    )
    return train, held
