"""Matrices as the product of two thin ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nnray.federated.codecs.codec import float_bytes, require_bytes, sizes_of, to_array
from nnray.federated.weights import Slot
from nnray.fields import PositiveInt
from nnray.seeding import torch_rng


def powersgd(*, rank: PositiveInt = 2, power_steps: PositiveInt = 2, slots: Sequence[Slot] = ()) -> PowerSgd:
    """PowerSGD: each matrix by a few directions; what got lost is added to the next update.

    Vectors, and matrices that would take no fewer bytes, are sent as they are.

    Args:
        rank: Directions of a matrix.
        power_steps: Of the power iteration that looks for them.
        slots: The tensors.

    Source:
        Vogels et al. 2019, algorithms 1 and 2. Each client finds directions of its own, from a start that is
        drawn anew in each round, where the paper's workers share theirs and keep them.
    """
    return PowerSgd(rank=rank, power_steps=power_steps, slots=tuple(slots))


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSgd:
    """Thin factors of matrices.

    Args:
        rank: Directions of a matrix.
        power_steps: Of the power iteration.
        slots: The tensors; none: all entries are one vector.
    """

    rank: int
    power_steps: int
    slots: tuple[Slot, ...] = ()
    error_feedback: ClassVar[bool] = True
    shared_indices: ClassVar[bool] = False
    contracts: ClassVar[bool] = True

    def encode(self, vector: Tensor, *, seed: int) -> bytes:
        """Tensor after tensor: both factors, or all of it; float32."""
        parts = torch.split(torch.from_numpy(to_array(vector)), sizes_of(self.slots, vector.numel()))
        return b"".join(self._encoded(part, place, seed) for place, part in enumerate(parts))

    def decode(self, data: bytes, size: int, *, seed: int) -> Tensor:
        """The products of the factors."""
        sizes = sizes_of(self.slots, size)
        plans = [self._plan(place) for place in range(len(sizes))]
        counts = [(p[0] + p[1]) * p[2] if p else own for p, own in zip(plans, sizes, strict=True)]
        require_bytes(data, 4 * sum(counts))
        parts = torch.split(torch.from_numpy(np.frombuffer(data, dtype="<f4").copy()), counts)
        found = [_product(part, plan) if plan else part for part, plan in zip(parts, plans, strict=True)]
        return torch.cat(found)

    def _plan(self, place: int) -> tuple[int, int, int] | None:
        """Rows, columns and rank of a tensor as a matrix; None where it is sent as it is."""
        shape = self.slots[place].shape if self.slots else ()
        if len(shape) < 2 or not all(shape):
            return None
        rows, columns = shape[0], self.slots[place].size // shape[0]
        rank = min(self.rank, rows, columns)
        return (rows, columns, rank) if rank * (rows + columns) < rows * columns else None

    def _encoded(self, part: Tensor, place: int, seed: int) -> bytes:
        plan = self._plan(place)
        if plan is None:
            return float_bytes(part.numpy())
        rows, columns, rank = plan
        matrix = part.double().view(rows, columns)
        right = torch.randn(columns, rank, generator=torch_rng(seed, "powersgd", place), dtype=torch.float64)
        for _ in range(self.power_steps):
            left = torch.linalg.qr(matrix @ right).Q
            right = matrix.T @ left
        return float_bytes(left.numpy()) + float_bytes(right.numpy())


def _product(part: Tensor, plan: tuple[int, int, int]) -> Tensor:
    rows, columns, rank = plan
    left, right = torch.split(part.double(), [rows * rank, columns * rank])
    product: Tensor = left.view(rows, rank) @ right.view(columns, rank).T
    return product.to(torch.float32).flatten()
