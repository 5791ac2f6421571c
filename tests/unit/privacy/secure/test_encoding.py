"""Integers of any size come back from sums of their words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import DataError
from nnray.privacy.secure.encoding import MOST_SUMMANDS, decode_sum, encode_integers, num_words


@given(st.sampled_from([1, 31, 32, 63, 64, 2175, 4287]), st.data())
def test_a_sum_of_words_is_the_sum_of_integers(bits: int, data: st.DataObject) -> None:
    most = 2**bits - 1
    edges = st.sampled_from([0, 1, -1, most, -most])
    values = data.draw(st.lists(st.tuples(*[st.integers(-most, most) | edges] * 3), min_size=1, max_size=8))
    words = np.sum([encode_integers(some, bits=bits) for some in values], axis=0)
    assert words.shape == (3 * num_words(bits),)
    assert decode_sum(words, bits=bits, summands=len(values)) == [
        sum(some) for some in zip(*values, strict=True)
    ]


@pytest.mark.parametrize("value", [0, 1, -1, 2**40 - 1, 1 - 2**40])
def test_as_many_clients_as_there_may_be_are_no_overflow(value: int) -> None:
    """The largest limbs 2 ** 31 times, by multiplication in the ring."""
    words = encode_integers([value], bits=40) * np.int64(MOST_SUMMANDS)
    assert decode_sum(words, bits=40, summands=MOST_SUMMANDS) == [value * MOST_SUMMANDS]
    with pytest.raises(AssertionError):
        decode_sum(words, bits=40, summands=MOST_SUMMANDS + 1)


def test_nothing_is_encoded_as_nothing() -> None:
    assert encode_integers([], bits=64).shape == (0,)
    assert decode_sum(encode_integers([], bits=64), bits=64, summands=0) == []


@pytest.mark.parametrize("value", [2**64, -(2**64), 2**70])
def test_larger_integers_are_refused(value: int) -> None:
    bits = value.bit_length()
    with pytest.raises(
        DataError, match=f"got an integer of {bits} bits; allowed in a secure sum: at most 64"
    ):
        encode_integers([1, value], bits=64)
    assert decode_sum(encode_integers([2**64 - 1], bits=64), bits=64, summands=1) == [2**64 - 1]
