"""Weights that stochastic gradient descent has moved, kept as what moved them.

The gradient of a linear layer's weights is a product ``G^T X`` of as many rows as there are examples in a
batch, and SGD with momentum, weight decay and a proximal pull is linear: after t steps the weights are
exactly ``a W0 + sum_s b_s G_s^T X_s``, with numbers a and b that are the same for all clients. So W0 is
shared by all clients, its products take all their rows at once, and what is a client's own costs as much as
the few rows that it has seen.

Legend: C clients of a block, R rows of a step (B examples, times positions where a layer has them), N rows
seen before it, D and H inputs and outputs of the layer.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import SGD, Optimizer

from nnray.federated.stacked_updates import Factored


def steps_linearly(optimizer: Optimizer) -> bool:
    """Whether an optimizer's steps are sums of gradients and weights, with the same factors for all."""
    groups = optimizer.param_groups
    return type(optimizer) is SGD and len(groups) == 1 and not groups[0]["maximize"]


class Coefficients:
    """What the weights are made of: how much of W0, and of the gradient of each step.

    Args:
        optimizer: An SGD; its first group's settings are read at each step.
        num_steps: That will be taken.
        proximal: Strength of the pull back to W0.
    """

    def __init__(self, optimizer: Optimizer, *, num_steps: int, proximal: float) -> None:
        self._group, self._proximal, self._step = optimizer.param_groups[0], proximal, 0
        self._of: NDArray[np.float64] = np.zeros(num_steps + 1)
        self._of[0] = 1.0
        self._velocity: NDArray[np.float64] | None = None

    @property
    def of_base(self) -> float:
        """The share of W0."""
        return float(self._of[0])

    @property
    def of_steps(self) -> list[float]:
        """The share of each step's gradient so far."""
        return [float(share) for share in self._of[1 : self._step + 1]]

    def step(self) -> None:
        """What ``torch.optim.SGD`` does to weights, done to their coefficients."""
        self._step += 1
        gradient = self._group["weight_decay"] * self._of + self._proximal * self._of
        gradient[self._step] += 1.0
        gradient[0] -= self._proximal
        if momentum := self._group["momentum"]:
            damped = (1 - self._group["dampening"]) * gradient
            self._velocity = gradient if self._velocity is None else momentum * self._velocity + damped
            nesterov = self._group["nesterov"]
            gradient = gradient + momentum * self._velocity if nesterov else self._velocity
        self._of = self._of - self._group["lr"] * gradient


class FactoredWeight:
    """The weights of a linear layer for each client.

    Args:
        base_HD: W0.
        num_clients: C.
        num_rows: That a client is expected to see; more are taken too.
        coefficients: Stepped by the owner.
    """

    def __init__(
        self, base_HD: Tensor, *, num_clients: int, num_rows: int, coefficients: Coefficients
    ) -> None:
        height, width = base_HD.shape
        self._base_HD, self._coefficients = base_HD, coefficients
        self._inputs = _Rows(base_HD.new_empty(num_clients, num_rows, width))
        self._outputs = _Rows(base_HD.new_empty(num_clients, num_rows, height))
        self._rows_of_steps: list[int] = []

    def forward(self, x_CRD: Tensor) -> Tensor:
        """``x W^T``."""
        shared = x_CRD @ self._base_HD.T
        return self._own(shared, x_CRD, self._inputs, self._outputs)

    def backward(self, g_CRH: Tensor) -> Tensor:
        """``g W``."""
        shared = g_CRH @ self._base_HD
        return self._own(shared, g_CRH, self._outputs, self._inputs)

    def _own(self, shared: Tensor, x: Tensor, like: _Rows, other: _Rows) -> Tensor:
        if not self._rows_of_steps:
            return shared
        overlap_CRN = torch.bmm(x, like.rows.mT).mul_(self._shares())
        return torch.baddbmm(shared, overlap_CRN, other.rows, beta=self._coefficients.of_base)

    def _shares(self) -> Tensor:
        """The coefficient of each row, ``[N]``."""
        shares = np.repeat(self._coefficients.of_steps, self._rows_of_steps)
        return torch.from_numpy(shares).to(self._base_HD)

    def append(self, x_CRD: Tensor, g_CRH: Tensor) -> None:
        """The rows of a step: inputs, and the gradient by outputs."""
        self._inputs.append(x_CRD)
        self._outputs.append(g_CRH)
        self._rows_of_steps.append(x_CRD.shape[1])

    def change(self) -> Factored:
        """How far the weights have come."""
        outputs = self._outputs.rows * self._shares()[:, None]
        return Factored(self._coefficients.of_base - 1, self._base_HD, outputs, self._inputs.rows)


class _Rows:
    """Rows of each client, in memory that grows as needed."""

    def __init__(self, room: Tensor) -> None:
        self._room, self._count = room, 0

    @property
    def rows(self) -> Tensor:
        return self._room[:, : self._count]

    def append(self, rows: Tensor) -> None:
        count = self._count + rows.shape[1]
        if count > self._room.shape[1]:
            clients, _, width = self._room.shape
            old, self._room = self.rows, self._room.new_empty(clients, 2 * count, width)
            self._room[:, : self._count] = old
        self._room[:, self._count : count] = rows
        self._count = count
