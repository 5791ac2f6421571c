"""Layers with some of their inputs or outputs taken out, in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Kept = Mapping[str, Sequence[int]]
"""``inputs`` and ``outputs`` of a linear layer or a convolution, ``features`` of a norm: the numbers kept."""


def resize(layer: nn.Module, kept: Kept) -> nn.Module:
    """Keep some inputs and outputs of a layer.

    Args:
        layer: Changed in place: linear, convolution, batch, group or layer norm. A depthwise convolution has
            ``outputs`` alone; of group norm, whole groups go.
        kept: By side.

    Raises:
        TypeError: Not such a layer.
        IndexError: It has fewer.
    """
    if isinstance(layer, nn.Linear):
        _resize_weight(layer, kept)
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.Conv2d):
        _resize_conv(layer, kept)
    elif isinstance(layer, _BatchNorm):
        _take(layer, ("weight", "bias", "running_mean", "running_var"), kept["features"])
        layer.num_features = len(kept["features"])
    elif isinstance(layer, nn.GroupNorm):
        size = layer.num_channels // layer.num_groups
        _take(layer, ("weight", "bias"), kept["features"])
        layer.num_channels = len(kept["features"])
        layer.num_groups = layer.num_channels // size
    elif isinstance(layer, nn.LayerNorm):
        _take(layer, ("weight", "bias"), kept["features"])
        layer.normalized_shape = (len(kept["features"]),)
    else:
        raise TypeError(f"{type(layer).__name__} has no such sides")
    return layer


def sizes(kept: Kept) -> dict[str, int]:
    """What a recipe says of a resized layer."""
    return {side: len(numbers) for side, numbers in kept.items()}


def _resize_conv(layer: nn.Conv2d, kept: Kept) -> None:
    is_depthwise = layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1
    assert is_depthwise or layer.groups == 1, "other groups are not resized"
    _resize_weight(layer, kept)
    layer.out_channels = len(layer.weight)
    layer.in_channels = layer.out_channels if is_depthwise else layer.weight.shape[1]
    layer.groups = layer.out_channels if is_depthwise else 1


def _resize_weight(layer: nn.Linear | nn.Conv2d, kept: Kept) -> None:
    weight: Tensor = layer.weight
    if "outputs" in kept:
        weight = _rows(weight, kept["outputs"], 0)
        _take(layer, ("bias",), kept["outputs"])
    if "inputs" in kept:
        weight = _rows(weight, kept["inputs"], 1)
    layer.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)


def _take(layer: nn.Module, names: Sequence[str], kept: Sequence[int]) -> None:
    for name in names:
        old = getattr(layer, name, None)
        if old is None:
            continue
        taken = _rows(old, kept, 0)
        if isinstance(old, nn.Parameter):
            taken = nn.Parameter(taken, requires_grad=old.requires_grad)
        setattr(layer, name, taken)


def _rows(values: Tensor, kept: Sequence[int], dim: int) -> Tensor:
    index = torch.as_tensor(list(kept), dtype=torch.long, device=values.device)
    return values.detach().index_select(dim, index)
