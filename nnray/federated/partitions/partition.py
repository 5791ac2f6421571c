"""What a partition is: which examples a client has, for a million clients as for ten.

All clients' indices stand in one array, one client after the other: a list of a million small arrays would
take a hundred times the memory and seconds to make.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnray.errors import DataError

Index = NDArray[np.int64]
NOBODY = -1
"""Owner of an example that no client has."""


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Which training examples each client has; client ``i`` has ``examples[starts[i]:starts[i + 1]]``.

    Args:
        examples: Of all clients, one client after the other, ascending within each.
        starts: Where each client begins, and the end.
        noise: Standard deviation of the noise on each client's inputs, in units of the data set's own; None
            for none.
        groups: Number of the group that each client is, where clients are natural.
        unused: Examples that no client has.

    Shape:
        examples: ``[N - unused] int64``.
        starts: ``[clients + 1] int64``.
        noise: ``[clients] float64``.
        groups: ``[clients] int64``.
    """

    examples: Index
    starts: Index
    noise: NDArray[np.float64] | None = None
    groups: Index | None = None
    unused: int = 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, client: int) -> Index:
        """The examples of a client, ascending; a view."""
        assert 0 <= client < len(self), (client, len(self))
        return self.examples[self.starts[client] : self.starts[client + 1]]

    @property
    def sizes(self) -> Index:
        """How many examples each client has, ``[clients] int64``."""
        return np.diff(self.starts)

    @property
    def owners(self) -> Index:
        """The client of each entry of ``examples``."""
        return np.repeat(np.arange(len(self)), self.sizes)


def by_owner(owner: Index, num_clients: int, *, groups: Index | None = None) -> Partition:
    """Partition by the client of each example, ``[N]``, or `NOBODY`."""
    # Stable, so that within a client examples stay in the order of the data set.
    order = np.argsort(owner, kind="stable").astype(np.int64)
    sizes = np.bincount(owner[owner != NOBODY], minlength=num_clients)
    unused = len(owner) - int(sizes.sum())
    return Partition(order[unused:], starts_of(sizes), groups=groups, unused=unused)


def dealt(order: Index, sizes: Index) -> Index:
    """Owner of each example: the first ``sizes[0]`` of ``order`` are client 0's, and so on."""
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = np.repeat(np.arange(len(sizes)), sizes)
    return owner


def even_sizes(total: int, num_parts: int) -> Index:
    """Sizes of parts that differ by one at most, larger ones first."""
    small, rest = divmod(total, num_parts)
    return small + (np.arange(num_parts) < rest).astype(np.int64)


def starts_of(sizes: Index) -> Index:
    """Where parts of these sizes begin, and the end of the last."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])


def require_enough(labels: Index, num_clients: int, *, least: int) -> None:
    """Refuse to share out fewer examples than ``least`` for each client."""
    if num_clients * least > len(labels):
        raise DataError(
            f"federated.clients: {num_clients} clients with at least {least} of {len(labels)} training "
            f"examples each are not possible; allowed: at most {len(labels) // least}"
        )


def as_partition(result: Any, *, num_examples: int, name: str) -> Partition:
    """Check what a partition function returned, which may be a list of index arrays, one a client.

    Args:
        result: What it returned.
        num_examples: Training examples that there are.
        name: Of the partition, for messages.

    Raises:
        DataError: No partition: an example of two clients, a number of no example, an empty client.
    """
    made = result if isinstance(result, Partition) else _joined(result, name=name)
    where = f"federated.partition {name}"
    if len(made) == 0 or made.sizes.min() < 1:
        who = f"client {int(made.sizes.argmin())} has no examples" if len(made) else "there are no clients"
        raise DataError(f"{where}: {who}; each needs at least one")
    if made.examples.min() < 0 or made.examples.max() >= num_examples:
        low, high = int(made.examples.min()), int(made.examples.max())
        raise DataError(f"{where}: examples go from {low} to {high}; allowed: 0 to {num_examples - 1}")
    times = np.bincount(made.examples, minlength=num_examples)
    if times.max() > 1:
        raise DataError(
            f"{where}: example {int(times.argmax())} is shared out {times.max()} times; allowed: once"
        )
    return made


def _joined(parts: Iterable[Any], *, name: str) -> Partition:
    try:
        arrays = [np.asarray(part) for part in parts]
        if any(array.ndim != 1 or (array.size and array.dtype.kind not in "iu") for array in arrays):
            raise TypeError("not lists of whole numbers")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"federated.partition {name}: returned {type(parts).__name__} ({error}); expected a Partition, "
            "or a list with an array of example numbers for each client"
        ) from error
    examples = np.concatenate([np.empty(0, dtype=np.int64), *map(np.sort, arrays)]).astype(np.int64)
    return Partition(examples, starts_of(np.array([len(array) for array in arrays], dtype=np.int64)))


def everything(partition: Partition) -> Partition:
    """One client that has what all of them have."""
    examples = np.sort(partition.examples)
    return Partition(examples, starts_of(np.array([len(examples)])), unused=partition.unused)
