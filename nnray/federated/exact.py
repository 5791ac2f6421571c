"""Sums over clients that don't depend on who adds what to what.

Vectors are summed as int64 in fixed point: adding integers is associative, so any tree of partial sums
has the same bits. Weights and single numbers are summed exactly, as Python's integers. What is left of
rounding is that of each client's vector, half a unit of the last of the bits.

How many bits stand after the point is decided once a round for all clients, from the sum of the round before:
enough of them that the mean is closer to that in float64 than 1e-6, and where that leaves a choice so few
that sums fit into 32 bits on their way. Nothing of a single client goes into that, so that a sum of masked
vectors (`nnray.privacy.secure`) has the same bits. A client whose vector doesn't fit says so instead of
sending it, and the round is summed again (`judge`), with the same outcome on any machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nnray.errors import DataError, UserCodeError
from nnray.federated.strategy import Means, Message

FIRST_BITS = 44
"""After the point, before anything is known of how large a vector's entries are."""
_ROOM_BITS, _SHORT_BITS = 62, 31
"""Of an int64, the sign apart, with one to spare; and of an int32."""
_GROWTH_BITS, _SHORT_GROWTH_BITS = 8, 1
"""By how much entries may grow from a round to the next: of a client, and of the sum."""
_ASKING_BITS = 1 << 11
"""So many that no vector fits, but one of zeros: what is said then is how many do."""
_TOLERANCE = 5e-7
"""Largest error of a mean that rounding is expected to make, as a share of its norm; 1e-6 is promised."""
_ROUNDING = 0.29
"""Standard deviation of an error that is uniform over a unit: 1 / sqrt(12)."""
_UNIT = 1100
"""Every float64 is a multiple of 2 to the power of minus this."""

_MOST, _LEAST = 1e200, 1e-200
"""Largest weighted entry, and the least that is not taken for zero: others leave the range of float64."""

_NOTHING = torch.zeros((), dtype=torch.int64)

Bits = Mapping[str, int]
"""After the point, by name of the vector."""
_UNTOLD: Bits = {}


@dataclass(frozen=True, slots=True)
class VectorSum:
    """The weighted sum of a vector over clients.

    Args:
        total: In fixed point, ``int64``; on its way ``int32`` where that holds it.
        weight: Of all clients, an exact multiple of 2 ** -1100.
        excess: Bits by which a client's vector was too long to be added; 0 where each one is in the sum.
        is_blank: Whether all that was added is zeros.
    """

    total: Tensor
    weight: int
    excess: int = 0
    is_blank: bool = False

    def __add__(self, other: VectorSum) -> VectorSum:
        return VectorSum(
            self.total.to(torch.int64) + other.total,
            self.weight + other.weight,
            max(self.excess, other.excess),
            self.is_blank and other.is_blank,
        )


@dataclass(frozen=True, slots=True)
class NumberSum:
    """The weighted sum of a number over clients, and of its weights, both exact."""

    total: int
    weight: int

    def __add__(self, other: NumberSum) -> NumberSum:
        return NumberSum(self.total + other.total, self.weight + other.weight)


@dataclass(frozen=True, slots=True)
class Sums:
    """What messages come to, of some clients or of all.

    Args:
        vectors: Sums by name.
        numbers: Likewise.
        count: Clients.
    """

    vectors: Mapping[str, VectorSum] = field(default_factory=dict)
    numbers: Mapping[str, NumberSum] = field(default_factory=dict)
    count: int = 0

    def __add__(self, other: Sums) -> Sums:
        if not self.count or not other.count:
            return self if self.count else other
        _require_same_names(self, other)
        return Sums(
            {name: value + other.vectors[name] for name, value in self.vectors.items()},
            {name: value + other.numbers[name] for name, value in self.numbers.items()},
            self.count + other.count,
        )

    def absorb(self, other: Sums) -> Sums:
        """The same as a sum, in place: neither is to be used again."""
        if not self.count or not other.count:
            return self if self.count else other
        _require_same_names(self, other)
        for name, value in self.vectors.items():
            value.total.add_(other.vectors[name].total)
        emptied = {name: replace(value, total=_NOTHING) for name, value in other.vectors.items()}
        return self + replace(other, vectors=emptied)

    def packed(self) -> Sums:
        """The same in 32 bits, where they hold it: half the bytes to send."""
        short = {name: replace(value, total=_packed(value.total)) for name, value in self.vectors.items()}
        return replace(self, vectors=short)

    def means(self, bits: Bits, *, population: int) -> Means:
        """Weighted means, in float64.

        Args:
            bits: That the vectors were summed with.
            population: All clients there are.

        Raises:
            UserCodeError: What all clients sent weighs nothing.
        """
        vectors = {}
        for name, value in self.vectors.items():
            if not value.weight:
                problem = (
                    f"what {self.count} clients sent as {name!r} weighs 0 together; allowed: more than 0"
                )
                raise UserCodeError("the strategy's message", problem)
            scale = math.ldexp(1.0, -_bits_of(name, bits)) / _as_float(value.weight)
            vectors[name] = value.total.to(torch.float64).mul_(scale)
        numbers = {name: _quotient(value) for name, value in self.numbers.items()}
        return Means(vectors, numbers, self.count, population)


def to_sums(message: Message, bits: Bits, *, room: int) -> Sums:
    """One client's message in fixed point.

    Args:
        message: What it sends.
        bits: After the point.
        room: Clients that may be added up; a vector too long for that becomes zero, which `judge` is told.

    Raises:
        DataError: A vector is not finite, or far too large.
    """
    vectors = {
        name: _fixed(sent.value, sent.weight, bits=_bits_of(name, bits), room=room)
        for name, sent in message.vectors.items()
    }
    numbers = {
        name: NumberSum(_exact(sent.value) * _exact(sent.weight), _exact(sent.weight))
        for name, sent in message.numbers.items()
    }
    return Sums(vectors, numbers, 1)


def to_block_sums(
    messages: Sequence[Message],
    totals: Mapping[str, Tensor],
    *,
    weights: Mapping[str, Sequence[float]],
    bits: Bits,
    room: int,
) -> Sums:
    """The messages of several clients in fixed point, their vectors added up before they came here.

    Args:
        messages: Of the clients; what counts is their numbers.
        totals: The weighted sum of each vector over the clients.
        weights: What each client's vector of a name weighs in it.
        bits: After the point.
        room: As for ``to_sums``.

    Raises:
        DataError: A vector is not finite.
    """
    vectors = {}
    for name, total in totals.items():
        weight = sum(map(_exact, weights[name]))
        vectors[name] = replace(_fixed(total, 1.0, bits=_bits_of(name, bits), room=room), weight=weight)
    numbers = {}
    for name in messages[0].numbers:
        sent = [message.numbers[name] for message in messages]
        exact = [_exact(number.weight) for number in sent]
        values = [_exact(number.value) * weight for number, weight in zip(sent, exact, strict=True)]
        numbers[name] = NumberSum(sum(values), sum(exact))
    return Sums(vectors, numbers, len(messages))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a round's sums can be relied on.

    Args:
        bits: For the next round, or for this one again.
        again: Names of vectors for which the bits of this round were too many or too few.
        most: Bits with which the longest vector of a client just fits, as far as this round has told.
    """

    bits: Bits
    again: tuple[str, ...]
    most: Bits = field(default_factory=dict)


def judge(sums: Sums, bits: Bits, *, most: Bits = _UNTOLD) -> Verdict:
    """Look at what a round's sums say of the bits that it was summed with.

    Args:
        sums: Of the whole round.
        bits: That they were summed with.
        most: What the round has told before, if it was summed before.
    """
    found, again, limits = dict(bits), [], dict(most)
    for name, value in sums.vectors.items():
        used = _bits_of(name, bits)
        if value.excess:
            limits[name] = used - value.excess
            found[name] = limits[name] - _GROWTH_BITS
            again.append(name)
        elif not value.is_blank:
            found[name] = _bits_for(value.total, count=sums.count, used=used)
            limit = limits.get(name, _ASKING_BITS) - _GROWTH_BITS
            if _error(value.total, sums.count) > _TOLERANCE and used < limit:
                found[name] = min(found[name], limit)
                again.append(name)
    return Verdict(found, tuple(again), limits)


def _bits_for(total: Tensor, *, count: int, used: int) -> int:
    """After the point, with which a sum like this one is short enough to send, and close enough."""
    if not _bits_in(total):
        return _ASKING_BITS
    few = used + _SHORT_BITS - _SHORT_GROWTH_BITS - _bits_in(total)
    error = math.ldexp(_error(total, count), used - few)
    return few + max(0, math.ceil(math.log2(2 * error / _TOLERANCE)))


def _error(total: Tensor, count: int) -> float:
    """What rounding has made of a sum, as a share of its norm."""
    norm = float(torch.linalg.vector_norm(total.to(torch.float64)))
    return _ROUNDING * math.sqrt(count * total.numel()) / norm if norm else math.inf


def _packed(total: Tensor) -> Tensor:
    return total.to(torch.int32) if _bits_in(total) <= _SHORT_BITS else total


def _bits_in(total: Tensor) -> int:
    """Bits of the entry that is largest by magnitude."""
    if not total.numel():
        return 0
    low, high = torch.aminmax(total)
    return max(-int(low), int(high)).bit_length()


def _require_same_names(one: Sums, other: Sums) -> None:
    for kind, some, others in (
        ("vectors", one.vectors, other.vectors),
        ("numbers", one.numbers, other.numbers),
    ):
        if some.keys() != others.keys():
            problem = f"all clients must send the same {kind}; got {sorted(some)} and {sorted(others)}"
            raise UserCodeError("the strategy's message", problem)


def _bits_of(name: str, bits: Bits) -> int:
    return bits.get(name, FIRST_BITS)


def _fixed(vector: Tensor, weight: float, *, bits: int, room: int) -> VectorSum:
    exact = _exact(weight)
    if not vector.numel():
        return VectorSum(torch.zeros_like(vector, dtype=torch.int64), exact, is_blank=True)
    low, high = torch.aminmax(vector)
    peak = max(-float(low), float(high)) * weight
    if not math.isfinite(float(low) + float(high)):  # max() may pass over a NaN
        raise DataError("its update has values that are not finite")
    if peak > _MOST:
        raise DataError(f"its update has a weighted value of {peak:g}; allowed: at most {_MOST:g}")
    is_blank = peak < _LEAST
    excess = 0 if is_blank else math.frexp(peak * room)[1] + bits - _ROOM_BITS
    if is_blank or excess > 0:
        return VectorSum(torch.zeros_like(vector, dtype=torch.int64), exact, max(0, excess), is_blank)
    scaled = vector.to(torch.float64, copy=True).mul_(math.ldexp(weight, bits))
    return VectorSum(scaled.round_().to(torch.int64), exact)


@functools.lru_cache(maxsize=4096)
def _exact(value: float) -> int:
    numerator, denominator = float(value).as_integer_ratio()
    # The denominator is a power of two, so that shifting is exact, and many times faster than division.
    return numerator << (_UNIT + 1 - denominator.bit_length())


def _as_float(weight: int) -> float:
    return weight / (1 << _UNIT)


def _quotient(value: NumberSum) -> float:
    return value.total / (value.weight << _UNIT) if value.weight else math.nan
