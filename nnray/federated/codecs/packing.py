"""Small numbers side by side, as few bits each as the largest one needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def bits_for(largest: int) -> int:
    """Bits that hold every number up to the largest."""
    return int(largest).bit_length()


def packed_bytes(count: int, width: int) -> int:
    """Bytes that so many numbers of so many bits take."""
    return -(-count * width // 8)


def pack(numbers: Ints, *, width: int) -> bytes:
    """Numbers from 0 to 2 ** width - 1, the lowest bit of each first."""
    assert not numbers.size or (numbers.min() >= 0 and bits_for(numbers.max()) <= width), "a number too wide"
    bits = np.empty((len(numbers), width), dtype=np.uint8)
    for place in range(width):
        bits[:, place] = (numbers >> place) & 1
    return np.packbits(bits).tobytes()


def unpack(data: bytes, *, count: int, width: int) -> Ints:
    """The numbers again."""
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count * width).reshape(count, width)
    numbers = np.zeros(count, dtype=np.int64)
    for place in range(width):
        numbers |= bits[:, place].astype(np.int64) << place
    return numbers
