"""A few of the entries: the largest ones, or some that all clients of a round draw alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.errors import DataError
from nnray.federated.codecs.codec import Share, float_bytes, require_bytes, to_array
from nnray.federated.codecs.packing import bits_for, pack, packed_bytes, unpack
from nnray.seeding import torch_rng

Correction = Literal["feedback", "scale", "none"]


def top_k(*, share: Share = 0.01) -> TopK:
    """The largest entries and their places; what is left out is added to the next update.

    Args:
        share: Of the entries that are sent.

    Source:
        Aji and Heafield 2017; error feedback: Stich et al. 2018, algorithm 1. Places go as distances to the
        entry before, in as few bits as the longest needs.
    """
    return TopK(share=share)


def random_k(*, share: Share = 0.01, correction: Correction = "feedback") -> RandomK:
    """Entries drawn anew in each round, the same for all clients, so that their places need no bytes.

    Args:
        share: Of the entries that are sent.
        correction: What is done about the others: ``feedback`` adds them to the next update, ``scale``
            enlarges those that are sent until their mean is right, ``none`` forgets them.

    Source:
        Konečný et al. 2016, section 3, "random mask"; error feedback: Stich et al. 2018.
    """
    return RandomK(share=share, correction=correction)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The largest entries by magnitude; of equal ones the first.

    Args:
        share: Of the entries that are sent.
    """

    share: float
    error_feedback: ClassVar[bool] = True
    shared_indices: ClassVar[bool] = False
    contracts: ClassVar[bool] = True

    def encode(self, vector: Tensor, *, seed: int) -> bytes:
        """Bits of a distance, in a byte; the distances; the values."""
        values = to_array(vector)
        index = _largest(np.abs(values), _count(self.share, len(values)))
        gaps = np.diff(index, prepend=-1) - 1
        width = bits_for(gaps.max(initial=0))
        return bytes([width]) + pack(gaps, width=width) + float_bytes(values[index])

    def decode(self, data: bytes, size: int, *, seed: int) -> Tensor:
        """The values at their places, zeros elsewhere."""
        count, width = _count(self.share, size), data[0] if data else 0
        end = 1 + packed_bytes(count, width)
        require_bytes(data, end + 4 * count)
        index = np.cumsum(unpack(data[1:end], count=count, width=width) + 1) - 1
        if count and index[-1] >= size:
            raise DataError(f"an encoded update has an entry {index[-1]}, of {size} in all")
        return _placed(data[end:], index, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomK:
    """Entries drawn from the seed.

    Args:
        share: Of the entries that are sent.
        correction: What is done about the others.
    """

    share: float
    correction: Correction
    shared_indices: ClassVar[bool] = True

    @property
    def error_feedback(self) -> bool:
        """Unless entries are scaled, or forgotten."""
        return self.correction == "feedback"

    @property
    def contracts(self) -> bool:
        """Unless entries are scaled."""
        return self.correction != "scale"

    def indices(self, size: int, *, seed: int) -> NDArray[np.int64]:
        """The entries that are sent, ascending: the same for all clients of a seed."""
        drawn = torch.randperm(size, generator=torch_rng(seed, "random_k"))[: _count(self.share, size)]
        return np.sort(drawn.numpy())

    def encode(self, vector: Tensor, *, seed: int) -> bytes:
        """The values."""
        values = to_array(vector)
        return float_bytes(values[self.indices(len(values), seed=seed)])

    def decode(self, data: bytes, size: int, *, seed: int) -> Tensor:
        """The values at their places, zeros elsewhere."""
        index = self.indices(size, seed=seed)
        require_bytes(data, 4 * len(index))
        found = _placed(data, index, size)
        return found * (size / len(index)) if self.correction == "scale" and size else found


def _count(share: float, size: int) -> int:
    return min(size, max(1, round(share * size)))


def _largest(magnitudes: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Places of the largest, ascending."""
    if not count:
        return np.empty(0, dtype=np.int64)
    least = np.partition(magnitudes, len(magnitudes) - count)[len(magnitudes) - count]
    above = np.flatnonzero(magnitudes > least)
    equal = np.flatnonzero(magnitudes == least)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _placed(values: bytes, index: NDArray[np.int64], size: int) -> Tensor:
    found = np.zeros(size, dtype=np.float32)
    found[index] = np.frombuffer(values, dtype="<f4")
    return torch.from_numpy(found)
