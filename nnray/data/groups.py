"""Who the training examples came from: writers, speakers, hospitals, the natural clients of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnray.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Where each training example came from.

    Args:
        of: Group of each example, 0 to G - 1, ``[N] int64``; a group may have none left.
        names: Of the groups.
        kind: What a group is, in the singular: writer, hospital.
    """

    of: NDArray[np.int64]
    names: tuple[str, ...]
    kind: str = "group"

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: NDArray[np.int64]) -> Groups:
        """Those of the examples at ``index``, in that order."""
        return Groups(self.of[index], self.names, self.kind)


GroupReader = Callable[[], Groups]
"""Tells the groups when called, so that runs that don't ask read no file; DataError where it can't."""


def numbered_groups(values: Any, *, kind: str = "group") -> Groups:
    """Groups by what they are called, numbered in sorted order.

    Args:
        values: The id or name of each example's group.
        kind: What a group is.

    Raises:
        DataError: Not a value for each example.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iuUSb":
        raise DataError(
            f"groups have shape {array.shape} and type {array.dtype}; expected a text or a whole number for "
            "each training example"
        )
    names, of = np.unique(array, return_inverse=True)
    return Groups(of.astype(np.int64), tuple(map(str, names.tolist())), kind)


def taken(whole: GroupReader, *, index: NDArray[np.int64], count: int, name: str) -> Groups:
    """Groups of some of a data set's training examples.

    Args:
        whole: Tells those of all.
        index: Which to take.
        count: How many examples there are.
        name: The data set, for messages.

    Raises:
        DataError: There is not a group for each example.
    """
    groups = whole()
    if len(groups.of) != count:
        raise DataError(
            f"{name}: tells the {groups.kind} of {len(groups.of)} examples, but has {count} to learn from; "
            "expected one for each"
        )
    return groups.take(index)
