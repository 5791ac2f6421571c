"""Penalties on the weights that are not the optimizer's business.

L2 is: it is ``optimizer.weight_decay``. Dropout and batch norm are the model's.
"""

from __future__ import annotations

import torch
from torch import nn


def penalized(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that penalties act on: weights, not biases and not norm scales."""
    return [p for p in model.parameters() if p.ndim > 1]


def add_l1(model: nn.Module, strength: float) -> None:
    """Add the subgradient of ``strength * sum |w|`` to the gradients of the weights.

    Same gradient as adding the penalty to the loss, without a pass through autograd; so the
    reported training loss is that of the data alone.
    """
    weights = [p for p in penalized(model) if p.grad is not None]
    if weights:
        gradients = [p.grad for p in weights if p.grad is not None]
        signs = torch._foreach_sign([p.detach() for p in weights])
        torch._foreach_add_(gradients, signs, alpha=strength)
