"""A split that is never in memory as a whole: its shards, its labels, and how they are read.

Nothing here imports torch: a process that only reads and decodes starts in a second, and
takes a fraction of the memory. What is kept of an example is its label and whether the split
has it, two bytes for up to 256 classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Integers = NDArray[np.int64]
Pieces = NDArray[np.int64]
"""Runs of examples in reading order, ``[P, 4]``: lane, shard, and its chosen examples from where to where."""


class Source(Protocol):
    """Where a split's examples stand, in shards that are read from their beginning."""

    @property
    def sizes(self) -> Integers:
        """Examples in each shard, at least one."""

    @property
    def labels(self) -> Array:
        """Of every example, in the order of the shards: integers, as ``names`` has them."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """What the labels stand for; None where the numbers are the labels themselves."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example: ``(C, H, W)`` or ``(F,)``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """``uint8``, or ``float32``."""

    def read(self, shard: int) -> Iterator[Array]:
        """The inputs of a shard in order, a few MiB at a time, ``[n, *shape]``."""


class Reader(Protocol):
    """Whoever does the reading: this process, or others."""

    def __call__(self, streamed: Streamed, pieces: Pieces, /) -> Iterator[Array]:
        """The inputs of the pieces, one after the other, cut in any way."""


def read_here(streamed: Streamed, pieces: Pieces) -> Iterator[Array]:
    """Read in this process: the plain way, which every other must equal to the bit."""
    for piece in pieces:
        yield from streamed.read(piece)


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """What a data set function hands in that can be streamed.

    Args:
        train: What to learn from.
        val: To choose by; None to have it split off.
        test: To measure on; opened only when called for.
        hold_back: Where there is no ``test``: share (below 1) or count of ``train`` to test on; 0 for none.
        split_seed: Which of them.
        classes: Names by label; None to have them found.
    """

    train: Source
    val: Source | None = None
    test: Callable[[], Source] | None = None
    hold_back: float = 0.0
    split_seed: int = 0
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Streamed:
    """Some of a source's examples, read anew whenever they are wanted.

    Args:
        source: Where they stand.
        labels: Of all examples of the source, 0 to K - 1.
        chosen: Which of them, bool.
        buffer_bytes: Memory to shuffle them in.
        reader: Who reads.
    """

    source: Source
    labels: Array
    chosen: NDArray[np.bool_]
    buffer_bytes: int = 128 << 20
    reader: Reader = read_here
    counts: Integers = field(init=False)
    _first: Integers = field(init=False)

    def __post_init__(self) -> None:
        sizes = np.asarray(self.source.sizes, dtype=np.int64)
        assert len(self.labels) == len(self.chosen) == sizes.sum(), "a label for each example"
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        counts = np.add.reduceat(self.chosen, first[:-1], dtype=np.int64)
        object.__setattr__(self, "_first", first)
        object.__setattr__(self, "counts", counts)

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def example_bytes(self) -> int:
        """Of an example as it is read."""
        return int(np.prod(self.source.shape)) * self.source.dtype.itemsize

    @property
    def num_lanes(self) -> int:
        """Shards that are read side by side: up to 16, as long as the largest of each have room together.

        It depends on the data and the buffer alone, so the order of examples does as well.
        """
        largest = max(1, int(self.counts.max(initial=1)) * self.example_bytes)
        return next((lanes for lanes in (16, 8, 4, 2) if lanes * largest <= self.buffer_bytes), 1)

    def read(self, piece: Integers) -> Iterator[Array]:
        """The chosen inputs of one piece, in order."""
        _, shard, start, stop = (int(value) for value in piece)
        chosen = self.chosen[self._first[shard] : self._first[shard + 1]]
        at = seen = 0
        for block in self.source.read(shard):
            kept = block[chosen[at : at + len(block)]]
            at += len(block)
            part = kept[max(0, start - seen) : max(0, stop - seen)]
            seen += len(kept)
            if len(part):
                yield part
            if seen >= stop:
                return
        raise _short(self.source, shard, at)

    def targets(self, piece: Integers) -> Array:
        """The labels of one piece, in order."""
        _, shard, start, stop = (int(value) for value in piece)
        rows = slice(self._first[shard], self._first[shard + 1])
        return self.labels[rows][self.chosen[rows]][start:stop]

    def blocks(self, pieces: Pieces) -> Iterator[Array]:
        """The inputs of the pieces, as the reader brings them."""
        return self.reader(self, pieces)


def _short(source: Source, shard: int, found: int) -> Exception:
    from nnray.errors import DataError

    return DataError(
        f"shard {shard} of a streamed set has {found} examples, at the start it had {source.sizes[shard]}: "
        "its files have changed; start again"
    )
