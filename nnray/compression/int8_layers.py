"""Linear layers and convolutions that hold and multiply integers of 8 bits.

Weights have a scale for each output; inputs one for each example, found as they come (dynamic), or one for
all, found beforehand (static). Neither depends on the other examples of a batch. Products are added up in 32
bits, exactly: on a CPU by torch's kernel for it, elsewhere in double precision.

Source:
    Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", equations 1 to 4, with zero points of 0; Krishnamoorthi 2018, section 3 (a scale per output).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST = 127
"""Of the integers in use: from -127 to 127, the same on both sides."""


def quantizable(layer: nn.Module) -> bool:
    """Whether a layer has a form with integers: linear, or convolutions without groups, padded with zeros."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros"
    return isinstance(layer, nn.Linear)


def quantized(layer: nn.Module, *, static: bool) -> Int8Layer:
    """The layer with its weights rounded to integers.

    Args:
        layer: As ``quantizable`` has it.
        static: Whether the inputs' scale is fixed; then set ``input_scale``.
    """
    if isinstance(layer, nn.Conv2d):
        return Int8Conv2d(layer, static=static)
    assert isinstance(layer, nn.Linear), layer
    return Int8Linear(layer, static=static)


def scale_of(largest: Tensor) -> Tensor:
    """The step between two integers for values up to ``largest``; 1 where all are zero."""
    return torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest))


def rounded(values: Tensor, scale: Tensor) -> Tensor:
    """The nearest integers, those out of range at its end."""
    return (values / scale).round_().clamp_(-LARGEST, LARGEST).to(torch.int8)


class Int8Layer(nn.Module):
    """What both layers share.

    Args:
        layer: Where the weights come from.
        static: Whether the inputs' scale is fixed.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None
    input_scale: Tensor | None

    def __init__(self, layer: nn.Linear | nn.Conv2d, *, static: bool) -> None:
        super().__init__()
        weight = layer.weight.detach()
        scale = scale_of(weight.flatten(1).abs().amax(dim=1))
        by_output = scale.reshape(-1, *[1] * (weight.ndim - 1))
        self.register_buffer("weight", rounded(weight, by_output))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.register_buffer("input_scale", torch.ones((), device=weight.device) if static else None)
        self.training = layer.training

    def rounded_inputs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs as integers, and the scale of each example, or one of all."""
        if self.input_scale is not None:
            scale = self.input_scale.reshape(1)
        else:
            scale = scale_of(inputs.flatten(1).abs().amax(dim=1))
        return rounded(inputs, scale.reshape(-1, *[1] * (inputs.ndim - 1))), scale

    def products(self, rows: Tensor) -> Tensor:
        """Integer rows times the weights, as exact sums."""
        columns = self.weight.flatten(1).t()
        if rows.device.type == "cpu":
            sums: Tensor = torch._int_mm(rows, columns)
            return sums
        return (rows.double() @ columns.double()).to(torch.int32)


class Int8Linear(Int8Layer):
    """A linear layer with integer weights.

    Shape:
        inputs: ``[B, ..., F]``.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Round the inputs, multiply integers, scale."""
        integers, scale = self.rounded_inputs(inputs)
        sums = self.products(integers.flatten(0, -2)).reshape(*inputs.shape[:-1], -1)
        outputs: Tensor = sums * self.scale * scale.reshape(-1, *[1] * (inputs.ndim - 1))
        return outputs if self.bias is None else outputs + self.bias


class Int8Conv2d(Int8Layer):
    """A convolution with integer weights.

    Args:
        layer: Where the weights come from.
        static: Whether the inputs' scale is fixed.

    Shape:
        inputs: ``[B, C, H, W]``.
    """

    def __init__(self, layer: nn.Conv2d, *, static: bool) -> None:
        super().__init__(layer, static=static)
        self.stride, self.dilation = layer.stride, layer.dilation
        self.kernel_size = layer.kernel_size
        self.edges = _edges(layer)

    def forward(self, inputs: Tensor) -> Tensor:
        """Round the inputs, multiply integers window by window, scale."""
        integers, scale = self.rounded_inputs(inputs)
        windows = self._windows(integers)
        batch, height, width = windows.shape[:3]
        sums = self.products(windows.reshape(batch * height * width, -1))
        outputs = sums.reshape(batch, height * width, -1) * self.scale * scale.reshape(-1, 1, 1)
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.transpose(1, 2).reshape(batch, -1, height, width)

    def _windows(self, integers: Tensor) -> Tensor:
        """A view ``[B, H', W', C, kernel height, kernel width]``."""
        padded = functional.pad(integers, self.edges)
        for dim in (0, 1):
            spread = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1
            padded = padded.unfold(2 + dim, spread, self.stride[dim])
        taken = padded[..., :: self.dilation[0], :: self.dilation[1]]
        return taken.permute(0, 2, 3, 1, 4, 5)


def _edges(layer: nn.Conv2d) -> list[int]:
    """Zeros on each side, as ``functional.pad`` takes them."""
    padding: Any = layer.padding
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        return list(layer._reversed_padding_repeated_twice)
    return [padding[1], padding[1], padding[0], padding[0]]
