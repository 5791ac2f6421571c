"""In which order clients see their examples: every permutation named by a key, for many clients at a time.

A generator for each client would cost more than a small model's step. Here every example gets a random number
of its own, a function of key, pass and place, and is sorted by it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnray.seeding import derive

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def order_key(seed: int, *path: str | int) -> int:
    """The key of a client's orders.

    Args:
        seed: Of the experiment.
        path: Names the client's draws.
    """
    return derive(seed, *path, "order")


def permutations(keys: NDArray[np.int64], size: int, *, number: int = 0) -> NDArray[np.int64]:
    """An order of ``size`` examples for each key.

    Args:
        keys: Of clients, ``[C]``.
        size: Examples of each one.
        number: Of the pass over them, from 0.

    Shape:
        returned: ``[C, size] int64``.

    Source:
        Steele, Lea, Flood 2014 (SplitMix64): the words of a generator that begins with key and pass.
    """
    offset = np.full(1, number, dtype=np.uint64) * _GOLDEN  # an array: of a scalar NumPy tells that it wraps
    begin = _mixed(_mixed(keys.astype(np.uint64)) + offset)
    steps = np.arange(1, size + 1, dtype=np.uint64) * _GOLDEN
    words = _mixed(begin[:, None] + steps)
    # Stable, so that equal words, one pair in 2 ** 64, have one order on every machine.
    return np.argsort(words, axis=1, kind="stable")


def _mixed(words: Words) -> Words:
    """SplitMix64's finalizer; products wrap around."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed
