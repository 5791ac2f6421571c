"""Examples that a client keeps back to be evaluated on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnray.errors import DataError
from nnray.federated.partitions.partition import Partition, starts_of


def hold_out(partition: Partition, rng: np.random.Generator, *, share: float) -> tuple[Partition, Partition]:
    """Cut each client's examples in two: what it trains on, and what it is evaluated on.

    Args:
        partition: Who has which.
        rng: Says which are kept back.
        share: Kept back of each client, rounded to whole examples; a client keeps at least one to train on.

    Raises:
        DataError: No client keeps any back.
    """
    sizes = partition.sizes
    kept_back = np.minimum(np.floor(sizes * share + 0.5).astype(np.int64), sizes - 1)
    if not kept_back.any():
        raise DataError(
            f"federated.holdout: {share:g} of the examples of a client, {sizes.max()} at most, is not one: "
            "hold more back, or have fewer clients"
        )
    owners = partition.owners
    order = np.lexsort((rng.random(len(owners)), owners))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - partition.starts[owners]
    is_held = place < kept_back[owners]
    parts = ((~is_held, sizes - kept_back), (is_held, kept_back))
    train, held = (
        replace(partition, examples=partition.examples[chosen], starts=starts_of(count))
        for chosen, count in parts
    )
    return train, held
