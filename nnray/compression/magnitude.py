"""Pruning single weights: the smallest become zero."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from nnray.compression.compressor import Compressed, Compressor
from nnray.compression.layers import weighty_layers
from nnray.fields import Fraction


def magnitude(*, sparsity: Fraction = 0.8, scope: Literal["global", "layer"] = "global") -> Compressor:
    """Set the smallest weights of linear layers and convolutions to zero; shapes stay.

    Args:
        sparsity: Share of those weights that are zero afterwards; biases and norms stay.
        scope: Smallest in the whole network, or in each layer by itself.

    Source:
        Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", section 3.
    """

    def compress(module: nn.Module, inputs: Tensor) -> Compressed:
        pruned = copy.deepcopy(module)
        weights = [layer.weight for layer in weighty_layers(pruned).values()]
        for part in [weights] if scope == "global" else [[weight] for weight in weights]:
            _zero_smallest(part, sparsity)
        return Compressed(pruned, [{"step": "magnitude", "sparsity": sparsity, "scope": scope}])

    return compress


@torch.no_grad()
def _zero_smallest(weights: list[Tensor], share: float) -> None:
    """Exactly ``floor(share * n)`` of them; of equal ones, those that come first."""
    if not weights:
        return
    sizes = torch.cat([weight.abs().flatten() for weight in weights])
    keep = torch.ones_like(sizes, dtype=torch.bool)
    keep[sizes.argsort(stable=True)[: int(share * len(sizes) + 1e-9)]] = False
    for weight, mask in zip(weights, torch.split(keep, [w.numel() for w in weights]), strict=True):
        weight.mul_(mask.view_as(weight))
