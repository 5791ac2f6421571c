"""Parameters of several clients as one tensor each, stepped by one optimizer.

An optimizer that treats every number by itself does to stacked parameters what it would do to each client's.

Legend: C clients of a block, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from nnray.federated.stacked_updates import Dense
from nnray.federated.strategy import Pull
from nnray.federated.weights import FlatModel, Slot

MakeOptimizer = Callable[[Sequence[Tensor]], Optimizer]
"""An optimizer of these parameters, as a client has it."""


class StackedParams:
    """Some of a model's parameters, one copy a client.

    Args:
        model: With the round's weights.
        slots: Which of its tensors.
        pulls: One for each client.
        make_optimizer: What steps them.

    Shape:
        values: by name, ``[C, ...]``.
    """

    def __init__(
        self, model: FlatModel, slots: Iterable[Slot], pulls: Sequence[Pull], *, make_optimizer: MakeOptimizer
    ) -> None:
        self.slots = {slot.name: slot for slot in slots}
        starts_CP = _starts(model.params, pulls)
        drifts_CP = _drifts(model.params, pulls)
        self._starts = {name: _cut(starts_CP, slot) for name, slot in self.slots.items()}
        self._drifts = (
            {name: _cut(drifts_CP, slot) for name, slot in self.slots.items()}
            if drifts_CP is not None
            else {}
        )
        self._proximal = _proximal(pulls, model.params.device)
        self.values = {name: start.contiguous().clone() for name, start in self._starts.items()}
        self.optimizer = make_optimizer(list(self.values.values()) or [model.params.new_zeros(1)])

    @torch.no_grad()
    def step(self, grads: Mapping[str, Tensor]) -> None:
        """One step of the optimizer, along gradients by name, each ``[C, ...]``."""
        for name, value in self.values.items():
            value.grad = self._pulled(name, grads[name]).contiguous()
        self.optimizer.step()
        for value in self.values.values():
            value.grad = None

    def _pulled(self, name: str, grad: Tensor) -> Tensor:
        if self._proximal is not None:
            shape = (-1, *[1] * (grad.ndim - 1))
            grad = grad + self._proximal.view(shape) * (self.values[name] - self._starts[name])
        return grad + self._drifts[name] if self._drifts else grad

    def changes(self) -> list[tuple[Slot, Dense]]:
        """How far each has come from its start."""
        return [(slot, Dense(self.values[name] - self._starts[name])) for name, slot in self.slots.items()]


def _starts(params: Tensor, pulls: Sequence[Pull]) -> Tensor:
    if all(pull.start is None for pull in pulls):
        return params.expand(len(pulls), -1)
    return torch.stack([params if pull.start is None else pull.start for pull in pulls])


def _drifts(params: Tensor, pulls: Sequence[Pull]) -> Tensor | None:
    if all(pull.drift is None for pull in pulls):
        return None
    none = torch.zeros_like(params)
    return torch.stack([none if pull.drift is None else pull.drift for pull in pulls])


def _proximal(pulls: Sequence[Pull], device: torch.device) -> Tensor | None:
    strengths = [pull.proximal for pull in pulls]
    return torch.tensor(strengths, device=device) if any(strengths) else None


def _cut(stacked_CP: Tensor, slot: Slot) -> Tensor:
    return stacked_CP[:, slot.start : slot.start + slot.size].view(len(stacked_CP), *slot.shape)
