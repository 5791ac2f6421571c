"""A small U-Net: a class for each pixel. Sizes are worked out from the data; any size will do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import Activation, Initialization, PositiveInt, Probability
from nnray.models.layers import ACTIVATIONS, dropout_layer, image_norm, image_shape, initialize, stack


def unet(
    info: DataInfo,
    *,
    channels: Sequence[PositiveInt] = (16, 32, 64),
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "group"] = "batch",
    init: Initialization = "default",
) -> nn.Module:
    """Convolutions down to small maps and up again, each size handed across.

    Args:
        channels: Of the maps of each size, each half as large as the one before.
        dropout: Share of values dropped in the smallest maps.
        activation: After each convolution but the last.
        norm: After each convolution but the last.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are no images, too small, or their pixels have no classes.

    Source:
        Ronneberger, Fischer and Brox, U-Net, 2015, figure 1, with padded convolutions and interpolation
        upwards, so that the output has the size of the image.
    """
    smallest = 2 ** (len(channels) - 1)
    depth, height, width = image_shape(info, "unet", smallest=smallest)
    if info.targets != "classes" or info.target_shape != (height, width):
        raise DataError(
            f"model unet gives a class for each of {height} x {width} pixels, data set {info.name} has "
            f"targets of kind {info.targets} and shape {list(info.target_shape)}: use a data set with masks, "
            "such as shapes"
        )

    def block(before: int, after: int) -> nn.Module:
        return double_convolution(before, after, activation=activation, norm=norm)

    down = [block(before, after) for before, after in zip((depth, *channels), channels, strict=False)]
    up = [block(low + high, high) for high, low in pairwise(channels)]
    output = nn.Conv2d(channels[0], info.num_classes, 1)
    return initialize(UNet(down, up, output, dropout=dropout), init, activation=activation)


class UNet(nn.Module):
    """Blocks downwards, blocks upwards, and an output for each pixel; made by `unet`.

    Args:
        down: From the image to the smallest map, halved after each but the last.
        up: By the size of their maps, the largest first: each takes the map below and the one across.
        output: From the largest maps to logits.
        dropout: Share of values dropped in the smallest maps.

    Shape:
        inputs: ``[B, C, H, W]``.
        outputs: ``[B, K, H, W]``.
    """

    def __init__(
        self, down: Sequence[nn.Module], up: Sequence[nn.Module], output: nn.Module, *, dropout: float
    ) -> None:
        super().__init__()
        self.down, self.up, self.output = nn.ModuleList(down), nn.ModuleList(up), output
        self.pool, self.dropout = nn.MaxPool2d(2), dropout_layer(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Down, up, and the output."""
        across: list[Tensor] = []
        for number, block in enumerate(self.down):
            x = block(self.pool(x) if number else x)
            across.append(x)
        x = self.dropout(across.pop())
        for block in reversed(self.up):
            same = across.pop()
            larger = functional.interpolate(x, size=same.shape[2:], mode="nearest")
            x = block(torch.cat([larger, same], 1))
        return self.output(x)  # type: ignore[no-any-return]


def double_convolution(before: int, after: int, *, activation: Activation, norm: str) -> nn.Module:
    """Two 3x3 convolutions that keep the size, each with its norm and activation.

    Args:
        before: Channels that come in.
        after: Channels that go out.
        activation: After each norm.
        norm: ``none``, ``batch`` or ``group``.
    """
    layers: list[tuple[str, nn.Module]] = []
    for number, (inward, outward) in enumerate(((before, after), (after, after)), start=1):
        layers += [
            (f"conv{number}", nn.Conv2d(inward, outward, 3, padding=1, bias=norm == "none")),
            (f"norm{number}", image_norm(norm, outward)),
            (f"activation{number}", ACTIVATIONS[activation]()),
        ]
    return stack(*layers)
