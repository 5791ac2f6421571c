"""A client's sums under masks: still `Sums`, so that the engine adds them up as it adds plain ones.

The vectors are masked where they stand. All else that is told of a client goes into one more vector, masked
with the others: weights and numbers, integers of thousands of bits; and of each of its vectors whether it was
blank, or how much too long. The unmasked sum has the bits of the plain one, for both are in the same ring.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.federated.exact import NumberSum, Sums, VectorSum
from nnray.privacy.secure.client import Client
from nnray.privacy.secure.encoding import decode_sum, encode_integers, num_words
from nnray.privacy.secure.failure import SecureAggregationAborted
from nnray.privacy.secure.primitives import Words
from nnray.privacy.secure.server import Server

EXACT = "secure/exact"
"""Name of the vector of all that is not a vector."""
_WEIGHT_BITS, _NUMBER_BITS = 2175, 4287
"""Of a float64 as a multiple of 2 ** -1100, and of the product of two, with 30 bits and more to spare."""
_PLACES = 2752
"""Of flags, each counted in 16 bits: place 0 for a vector that is not blank, place k for one too long by
k bits. `federated.exact` can't come to more."""


def mask(sums: Sums, client: Client) -> Sums:
    """What a client sends instead of its sums: of the same names and shapes, which is all that it tells.

    Args:
        sums: Of one client, or of a site.
        client: That has received its shares.
    """
    assert sums.count, "a client without a message sends nothing"
    exact = _encoded(sums)
    by_name = {**{name: value.total for name, value in sums.vectors.items()}, EXACT: exact}
    words = client.mask(np.concatenate([_words(by_name[name]) for name in _ordered(by_name)]))
    parts = _parted(words, by_name)
    return Sums(
        {name: VectorSum(parts[name], 0) for name in by_name},
        dict.fromkeys(sums.numbers, NumberSum(0, 0)),
        sums.count,
    )


def unmask(masked: Sums, server: Server) -> Sums:
    """The plain sums, from the sums of what the survivors sent.

    Args:
        masked: All of theirs, and none of anybody else's.
        server: That has been told the shares.

    Raises:
        SecureAggregationAborted: It is not the sum of the survivors' vectors.
    """
    totals = {name: value.total for name, value in masked.vectors.items()}
    words = server.unmask(np.concatenate([_words(totals[name]) for name in _ordered(totals)]))
    parts, summands = _parted(words, totals), len(server.survivors)
    exact = _words(parts.pop(EXACT))
    if exact[0] != summands:
        problem = f"what was added up is not the masked vectors of the {summands} clients that sent theirs"
        raise SecureAggregationAborted("unmasking", problem)
    return _decoded(exact[1:], masked, parts, summands=summands)


def num_bytes(masked: Sums) -> int:
    """That masked sums take on their way."""
    return sum(value.total.nbytes for value in masked.vectors.values())


def _encoded(sums: Sums) -> Tensor:
    """A 1, to count clients by; then flags and weights of vectors, weights of numbers, and numbers."""
    vectors = [sums.vectors[name] for name in sorted(sums.vectors)]
    numbers = [sums.numbers[name] for name in sorted(sums.numbers)]
    parts = (
        np.ones(1, np.int64),
        *(_flags(vector) for vector in vectors),
        encode_integers([vector.weight for vector in vectors], bits=_WEIGHT_BITS),
        encode_integers([number.weight for number in numbers], bits=_WEIGHT_BITS),
        encode_integers([number.total for number in numbers], bits=_NUMBER_BITS),
    )
    return torch.from_numpy(np.concatenate(parts))


def _decoded(words: Words, masked: Sums, totals: Mapping[str, Tensor], *, summands: int) -> Sums:
    of_weight, of_number, num_numbers = num_words(_WEIGHT_BITS), num_words(_NUMBER_BITS), len(masked.numbers)
    sizes = (
        len(totals) * _PLACES // 4,
        len(totals) * of_weight,
        num_numbers * of_weight,
        num_numbers * of_number,
    )
    flags, *coded = np.split(words, np.cumsum(sizes)[:-1])
    weights, of_numbers, found = (
        decode_sum(part, bits=bits, summands=summands)
        for part, bits in zip(coded, (_WEIGHT_BITS, _WEIGHT_BITS, _NUMBER_BITS), strict=True)
    )
    counts = flags.astype("<i8").view("<u2").reshape(-1, _PLACES)
    vectors = {
        name: VectorSum(totals[name], weight, _highest(count), is_blank=not count[0])
        for name, weight, count in zip(sorted(totals), weights, counts, strict=True)
    }
    pairs = zip(found, of_numbers, strict=True)
    numbers = {name: NumberSum(*pair) for name, pair in zip(sorted(masked.numbers), pairs, strict=True)}
    return Sums(
        {name: vectors[name] for name in masked.vectors if name != EXACT},
        {name: numbers[name] for name in masked.numbers},
        masked.count,
    )


def _flags(vector: VectorSum) -> Words:
    assert 0 <= vector.excess < _PLACES, vector.excess
    counts = np.zeros(_PLACES, dtype="<u2")
    counts[vector.excess] = vector.excess > 0
    counts[0] = not vector.is_blank
    return counts.view("<i8")


def _highest(count: NDArray[np.uint16]) -> int:
    return int(count.nonzero()[0].max(initial=0))


def _ordered(names: Iterable[str]) -> list[str]:
    """The same for all clients, whatever the order of their vectors."""
    return [*sorted(name for name in names if name != EXACT), EXACT]


def _words(total: Tensor) -> Words:
    words: Words = total.reshape(-1).to("cpu", torch.int64).numpy()
    return words


def _parted(words: Words, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = _ordered(like)
    ends = np.cumsum([like[name].numel() for name in names])[:-1]
    parts = zip(names, np.split(words, ends), strict=True)
    return {name: torch.from_numpy(part).reshape(like[name].shape) for name, part in parts}
