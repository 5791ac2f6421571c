"""Layers as products of two smaller ones, by the singular values of their weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from nnray.compression.compressor import Compressed, Compressor
from nnray.compression.factored import factored
from nnray.compression.layers import Weighty, weighty_layers
from nnray.compression.structure import replace_layers
from nnray.fields import Fraction


def low_rank(*, energy: Fraction = 0.9) -> Compressor:
    """Replace linear layers and convolutions by two thinner ones, where that saves weights.

    A layer's rank is the smallest that keeps a share of the squares of its singular values; the product is
    then the nearest one of that rank.

    Args:
        energy: The share kept; at 1 nothing changes.

    Source:
        Denton et al. 2014, "Exploiting Linear Structure Within Convolutional Networks"; the cut of a
        convolution as in Zhang et al. 2015, "Accelerating Very Deep Convolutional Networks", section 2.
    """

    def compress(module: nn.Module, inputs: Tensor) -> Compressed:
        factors = {
            name: (rank, _factors(layer, rank))
            for name, layer in weighty_layers(module).items()
            if (rank := _rank(layer, energy))
        }
        pairs: dict[str, nn.Module] = {name: pair for name, (_, pair) in factors.items()}
        smaller = replace_layers(copy.deepcopy(module), pairs)
        layers = {name: {"rank": rank} for name, (rank, _) in factors.items()}
        step = {"step": "factor", "method": "low_rank", "energy": energy, "layers": layers}
        return Compressed(smaller, [step] if layers else [])

    return compress


def _rank(layer: Weighty, energy: float) -> int:
    """The rank to replace a layer by; 0 where it stays."""
    if type(layer) not in (nn.Linear, nn.Conv2d) or getattr(layer, "groups", 1) != 1 or energy == 1:
        return 0
    squares = torch.linalg.svdvals(layer.weight.detach().flatten(1).double()).square()
    if not squares.sum() > 0:
        return 0
    shares = squares.cumsum(0) / squares.sum()
    rank = min(int((shares < energy).sum()) + 1, len(squares))
    before = layer.weight.numel()
    after = rank * (layer.weight.shape[0] + before // layer.weight.shape[0])
    return rank if after < before else 0


@torch.no_grad()
def _factors(layer: Weighty, rank: int) -> nn.Sequential:
    """The product of this rank that is nearest to the layer's weights, its scale shared by both factors."""
    weight = layer.weight.detach()
    left, singular, right = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
    root = singular[:rank].sqrt()
    pair = factored(layer, rank)
    first, second = pair
    assert isinstance(first, Weighty) and isinstance(second, Weighty)
    first.weight.copy_((root[:, None] * right[:rank]).reshape(first.weight.shape))
    second.weight.copy_((left[:, :rank] * root).reshape(second.weight.shape))
    if layer.bias is not None and second.bias is not None:
        second.bias.copy_(layer.bias)
    return pair
