"""A seeded shuffle in bounded memory: draw from a pool, fill it up with what comes next.

After Bassily et al.'s observation that order matters less than coverage, this is the shuffle buffer
of tf.data and WebDataset, but drawn a batch at a time: what comes out depends on the
generator, the capacity, the sizes of the draws and the order of what went in; not on how
that was cut into blocks.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from nnray.data.stream import Array


class Pool:
    """Examples waiting to be drawn.

    Args:
        capacity: The most that it draws from.
        rng: Chooses; None hands out in the order of arrival.
    """

    def __init__(self, capacity: int, *, rng: np.random.Generator | None) -> None:
        assert capacity > 0, capacity
        self.capacity, self._rng, self._filled = capacity, rng, 0
        self._waiting: deque[tuple[Array, Array]] = deque()
        self._inputs: Array | None = None
        self._targets = np.empty(capacity, dtype=np.int64)
        self._num_waiting = 0

    def __len__(self) -> int:
        return self._filled + self._num_waiting

    def add(self, inputs: Array, targets: Array) -> None:
        """Have examples wait; they are copied once there is room in the pool."""
        assert len(inputs) == len(targets), (len(inputs), len(targets))
        self._waiting.append((inputs, targets))
        self._num_waiting += len(inputs)
        self._fill()

    def draw(self, number: int) -> tuple[Array, Array]:
        """Take ``number`` examples out, at random among the first ``capacity``."""
        assert number <= min(len(self), self.capacity), (number, len(self), self.capacity)
        assert self._inputs is not None
        taken = np.arange(number) if self._rng is None else self._choose(number)
        inputs, targets = self._inputs[taken], self._targets[taken]
        self._close_gaps(taken)
        self._fill()
        return inputs, targets

    def _choose(self, number: int) -> Array:
        assert self._rng is not None
        return self._rng.choice(self._filled, number, replace=False)

    def _close_gaps(self, taken: Array) -> None:
        assert self._inputs is not None
        left = self._filled - len(taken)
        if self._rng is None:
            self._inputs[:left] = self._inputs[len(taken) : self._filled].copy()
            self._targets[:left] = self._targets[len(taken) : self._filled].copy()
        else:
            gaps = np.sort(taken[taken < left])
            movers = np.setdiff1d(np.arange(left, self._filled), taken, assume_unique=True)
            self._inputs[gaps], self._targets[gaps] = self._inputs[movers], self._targets[movers]
        self._filled = left

    def _fill(self) -> None:
        while self._waiting and self._filled < self.capacity:
            inputs, targets = self._waiting.popleft()
            room = min(self.capacity - self._filled, len(inputs))
            into = slice(self._filled, self._filled + room)
            if self._inputs is None:
                self._inputs = np.empty((self.capacity, *inputs.shape[1:]), dtype=inputs.dtype)
            self._inputs[into], self._targets[into] = inputs[:room], targets[:room]
            self._filled += room
            self._num_waiting -= room
            if room < len(inputs):
                self._waiting.appendleft((inputs[room:], targets[room:]))
