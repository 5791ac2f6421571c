"""Muon and AdamW as one optimizer: one state dict, one list of parameter groups, one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Groups = list[dict[str, Any]]


def split_matrices(groups: Groups) -> tuple[Groups, Groups]:
    """Part parameter groups into hidden matrices and the rest, each group's own options kept.

    The last 2-D parameter is the output layer's weight and goes with the rest.
    """
    every = [p for group in groups for p in group["params"] if p.ndim == 2]
    hidden = {id(p) for p in every[:-1]}
    return _keep(groups, lambda p: id(p) in hidden), _keep(groups, lambda p: id(p) not in hidden)


def _keep(groups: Groups, wanted: Callable[[Tensor], bool]) -> Groups:
    parts = [{**group, "params": [p for p in group["params"] if wanted(p)]} for group in groups]
    return [part for part in parts if part["params"]]


class MuonWithAdamW(Optimizer):
    """Two optimizers that share this one's groups and state, so that it saves and loads as one.

    Args:
        muon: Over the hidden matrices.
        adamw: Over all the rest.
    """

    def __init__(self, muon: Optimizer, adamw: Optimizer) -> None:
        self.parts: tuple[Optimizer, ...] = (muon, adamw)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups = self.param_groups[start:end]
            part.state = self.state
            start = end

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step with both.

        Args:
            closure: Recomputes the loss, with gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
