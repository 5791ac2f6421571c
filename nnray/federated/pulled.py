"""What a strategy's pull makes of a client's steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from nnray.federated.strategy import Pull
from nnray.federated.weights import FlatModel


class Terms:
    """What a strategy adds to every gradient.

    Args:
        flat: The model.
        pull: Of the strategy.
        start: Weights that the client starts from; not those of the model, which move.
    """

    def __init__(self, flat: FlatModel, pull: Pull, start: Tensor) -> None:
        self._params, self._proximal = flat.parameters, pull.proximal
        anchor = start if pull.anchor is None else pull.anchor
        self._anchor = [slot.of(anchor) for slot in flat.slots] if pull.proximal else []
        self._drift = [slot.of(pull.drift) for slot in flat.slots] if pull.drift is not None else []

    @torch.no_grad()
    def add(self) -> None:
        """Add them to the gradients that there are."""
        for place, param in enumerate(self._params if self._anchor or self._drift else ()):
            if param.grad is None:
                continue
            if self._anchor:
                param.grad.add_(param - self._anchor[place], alpha=self._proximal)
            if self._drift:
                param.grad.add_(self._drift[place])


@contextmanager
def frozen(flat: FlatModel, names: Sequence[str]) -> Iterator[None]:
    """Inside the block parameters of these names get no gradient, and so take no step."""
    chosen = [param for slot, param in zip(flat.slots, flat.parameters, strict=True) if slot.name in names]
    assert len(chosen) == len(names), f"no parameters {set(names) - {slot.name for slot in flat.slots}}"
    before = [param.requires_grad for param in chosen]
    for param in chosen:
        param.requires_grad_(False)
    try:
        yield
    finally:
        for param, wanted in zip(chosen, before, strict=True):
            param.requires_grad_(wanted)
