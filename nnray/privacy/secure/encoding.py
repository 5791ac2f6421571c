"""Exact integers of any size as words of the ring of secure sums: sums of words are then sums of integers.

An integer is cut into limbs of 32 bits, one a word: a sum of up to 2 ** 31 clients carries into the upper
half of its word and no further. Before that it is made non-negative by an offset, which is taken away again
as often as there are summands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnray.errors import DataError
from nnray.privacy.secure.primitives import Words

_LIMB_BITS, _LIMB_BYTES = 32, 4
MOST_SUMMANDS = 1 << 31


def num_words(bits: int) -> int:
    """Words that an integer takes, with room for its sign.

    Args:
        bits: Of its magnitude.
    """
    return bits // _LIMB_BITS + 1


def encode_integers(values: Sequence[int], *, bits: int) -> Words:
    """Integers as words.

    Args:
        values: Each of fewer than ``2 ** bits`` by magnitude.
        bits: The same for all clients.

    Shape:
        values * num_words(bits)

    Raises:
        DataError: An integer is larger.
    """
    for value in values:
        if abs(value) >> bits:
            text = f"got an integer of {value.bit_length()} bits; allowed in a secure sum: at most {bits}"
            raise DataError(text)
    size = num_words(bits) * _LIMB_BYTES
    raw = b"".join((value + (1 << bits)).to_bytes(size, "little") for value in values)
    return np.frombuffer(raw, dtype="<u4").astype(np.int64)


def decode_sum(words: Words, *, bits: int, summands: int) -> list[int]:
    """The sums of integers, from the sum of their words modulo 2 ** 64.

    Args:
        words: Sum of what ``encode_integers`` gave.
        bits: That they were encoded with.
        summands: Encodings that were added up, at most 2 ** 31.
    """
    assert 0 <= summands <= MOST_SUMMANDS, summands
    offset = summands << bits
    return [_joined(limbs) - offset for limbs in words.reshape(-1, num_words(bits)).tolist()]


def _joined(limbs: Sequence[int]) -> int:
    value = 0
    for limb in reversed(limbs):
        value = (value << _LIMB_BITS) + limb
    return value
