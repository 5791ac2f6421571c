"""All of the entries, in fewer bits each: levels of a norm, bytes of a scale, or signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.federated.codecs.codec import (
    Array,
    float_bytes,
    float_up,
    require_bytes,
    sizes_of,
    to_array,
)
from nnray.federated.codecs.packing import bits_for, pack, packed_bytes, unpack
from nnray.federated.weights import Slot
from nnray.fields import PositiveInt
from nnray.seeding import torch_rng

Rounding = Literal["stochastic", "nearest"]
Wide = NDArray[np.float64]
_MOST = 127


def qsgd(*, levels: PositiveInt = 7, block: PositiveInt = 512) -> Qsgd:
    """QSGD: levels between 0 and the norm of a block of entries, rounded at random; unbiased.

    Args:
        levels: Above zero, on each side of it: 1 takes two bits an entry, 7 take four.
        block: Entries that share a norm.

    Source:
        Alistarh et al. 2017, section 3.1 and, for blocks, 4. Levels take equally many bits each, where the
        paper codes frequent ones in fewer.
    """
    return Qsgd(levels=levels, block=block)


def int8(*, block: PositiveInt = 1024, rounding: Rounding = "stochastic") -> Int8:
    """A byte an entry, in units of 1/127 of the largest of its block.

    Args:
        block: Entries that share a scale.
        rounding: ``stochastic`` is unbiased; ``nearest`` adds what got lost to the next update.
    """
    return Int8(block=block, rounding=rounding)


def signsgd(*, slots: Sequence[Slot] = ()) -> SignSgd:
    """Signs, times the mean magnitude of their tensor; what got lost is added to the next update.

    Args:
        slots: The tensors.

    Source:
        Karimireddy et al. 2019, "Error feedback fixes SignSGD", algorithm 1, layer by layer as in its
        section 6.
    """
    return SignSgd(slots=tuple(slots))


@dataclass(frozen=True, slots=True, kw_only=True)
class Qsgd:
    """Norms of blocks, and signed levels.

    Args:
        levels: On each side of zero.
        block: Entries that share a norm.
    """

    levels: int
    block: int
    error_feedback: ClassVar[bool] = False
    shared_indices: ClassVar[bool] = False
    contracts: ClassVar[bool] = False

    def encode(self, vector: Tensor, *, seed: int) -> bytes:
        """Norms as float32, rounded up; levels from 0, the lowest, in as few bits as they need."""
        blocks = _blocks(to_array(vector), self.block)
        norms = float_up(np.sqrt(np.square(blocks).sum(axis=1)))
        levels = _rounded(_over(blocks * self.levels, norms), seed=seed).reshape(-1)[: vector.numel()]
        return float_bytes(norms) + pack(levels + self.levels, width=bits_for(2 * self.levels))

    def decode(self, data: bytes, size: int, *, seed: int) -> Tensor:
        """The share of the norm that each level is."""
        width = bits_for(2 * self.levels)
        norms, packed = _parts(data, size, block=self.block, width=width)
        levels = unpack(packed, count=size, width=width) - self.levels
        return _unblocked(_blocks(levels, self.block) * norms / self.levels, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """Scales of blocks, and signed bytes.

    Args:
        block: Entries that share a scale.
        rounding: At random, or to the nearest.
    """

    block: int
    rounding: Rounding
    shared_indices: ClassVar[bool] = False
    contracts: ClassVar[bool] = False

    @property
    def error_feedback(self) -> bool:
        """Where rounding has a bias."""
        return self.rounding == "nearest"

    def encode(self, vector: Tensor, *, seed: int) -> bytes:
        """Scales as float32, rounded up; then a byte an entry."""
        blocks = _blocks(to_array(vector), self.block)
        scales = float_up(np.abs(blocks).max(axis=1, initial=0.0) / _MOST)
        units = _over(blocks, scales)
        numbers = np.rint(units) if self.rounding == "nearest" else _rounded(units, seed=seed)
        return float_bytes(scales) + numbers.astype(np.int8).tobytes()[: vector.numel()]

    def decode(self, data: bytes, size: int, *, seed: int) -> Tensor:
        """So many units of the scale."""
        scales, numbers = _parts(data, size, block=self.block, width=8)
        return _unblocked(_blocks(np.frombuffer(numbers, dtype=np.int8), self.block) * scales, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignSgd:
    """Mean magnitudes of tensors, and signs.

    Args:
        slots: The tensors; none: all entries are one.
    """

    slots: tuple[Slot, ...] = ()
    error_feedback: ClassVar[bool] = True
    shared_indices: ClassVar[bool] = False
    contracts: ClassVar[bool] = True

    def encode(self, vector: Tensor, *, seed: int) -> bytes:
        """A float32 for each tensor; then a bit an entry, 0 where it is negative."""
        values = to_array(vector).astype(np.float64)
        tensors = np.split(values, np.cumsum(sizes_of(self.slots, len(values)))[:-1])
        scales = np.array([np.abs(part).mean() if part.size else 0.0 for part in tensors])
        return float_bytes(scales) + np.packbits(values >= 0).tobytes()

    def decode(self, data: bytes, size: int, *, seed: int) -> Tensor:
        """The scale of its tensor with the sign of each entry."""
        sizes = sizes_of(self.slots, size)
        end = 4 * len(sizes)
        require_bytes(data, end + packed_bytes(size, 1))
        scales = np.repeat(np.frombuffer(data[:end], dtype="<f4"), sizes)
        bits = np.unpackbits(np.frombuffer(data[end:], dtype=np.uint8), count=size)
        return torch.from_numpy(np.where(bits == 1, scales, -scales).astype(np.float32))


def _blocks(values: NDArray[np.generic], block: int) -> Wide:
    """Rows of equally many entries, the last one filled up with zeros."""
    rows = np.zeros((-(-len(values) // block), block))
    rows.reshape(-1)[: len(values)] = values
    return rows


def _unblocked(rows: Wide, size: int) -> Tensor:
    return torch.from_numpy(rows.reshape(-1)[:size].astype(np.float32))


def _over(rows: Wide, scales: Array) -> Wide:
    """Rows in units of their scales; a row of zeros stays one."""
    units: Wide = rows / np.where(scales > 0, scales, 1.0)[:, None].astype(np.float64)
    return units


def _rounded(units: Wide, *, seed: int) -> NDArray[np.int64]:
    """Up or down, by chance, so that the mean is right."""
    chance = torch.rand(units.shape, generator=torch_rng(seed, "rounding"), dtype=torch.float64).numpy()
    numbers: NDArray[np.int64] = np.floor(units + chance).astype(np.int64)
    return numbers


def _parts(data: bytes, size: int, *, block: int, width: int) -> tuple[Wide, bytes]:
    """Scales as a column, and the bytes of the entries."""
    end = 4 * -(-size // block)
    require_bytes(data, end + packed_bytes(size, width))
    scales = np.frombuffer(data[:end], dtype="<f4").astype(np.float64)[:, None]
    return scales, data[end:]
