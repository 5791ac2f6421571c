"""A layer as two thinner ones in a row: a product of two matrices in place of one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn


def factored(layer: nn.Linear | nn.Conv2d, rank: int) -> nn.Sequential:
    """Two layers with ``rank`` channels between them, in place of one; weights as torch draws them.

    Args:
        layer: A convolution becomes one of the same window, then one of 1x1.
        rank: Of the product.
    """
    if rank < 1:
        raise ValueError(f"rank must be above 0 (got {rank})")
    place: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    first, second = _linear(layer, rank, place) if isinstance(layer, nn.Linear) else _conv(layer, rank, place)
    pair = nn.Sequential(OrderedDict(first=first, second=second))
    return pair.train(layer.training)


def _linear(layer: nn.Linear, rank: int, place: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    has_bias = layer.bias is not None
    return (
        nn.Linear(layer.in_features, rank, bias=False, **place),
        nn.Linear(rank, layer.out_features, bias=has_bias, **place),
    )


def _conv(layer: nn.Conv2d, rank: int, place: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    assert layer.groups == 1, "a convolution with groups is not factored"
    window: dict[str, Any] = {
        "kernel_size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "padding_mode": layer.padding_mode,
    }
    has_bias = layer.bias is not None
    return (
        nn.Conv2d(layer.in_channels, rank, **window, bias=False, **place),
        nn.Conv2d(rank, layer.out_channels, 1, bias=has_bias, **place),
    )
