"""Residual networks for small images: a 3x3 stem without pooling, basic blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.fields import Activation, Initialization, PositiveInt, Probability
from nnray.models.layers import ACTIVATIONS, dropout_layer, image_norm, image_shape, initialize, stack

# Depth -> width of the first stage, blocks of each stage.
_PLANS = {
    18: (64, (2, 2, 2, 2)),
    34: (64, (3, 4, 6, 3)),
    20: (16, (3, 3, 3)),
    32: (16, (5, 5, 5)),
    44: (16, (7, 7, 7)),
    56: (16, (9, 9, 9)),
}


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is 1x1 where the shape changes.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the first convolution.
        norm: ``batch`` or ``group``.
        activation: After each of the two.

    Source:
        He et al. 2016, figure 2, option B.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, norm: str, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = image_norm(norm, outputs)
        self.activation1 = ACTIVATIONS[activation]()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = image_norm(norm, outputs)
        self.activation2 = ACTIVATIONS[activation]()
        changed = stride != 1 or inputs != outputs
        self.shortcut = _projection(inputs, outputs, stride, norm) if changed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Add the two ways and activate."""
        y = self.activation1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        outputs: Tensor = self.activation2(y + self.shortcut(x))
        return outputs


def _projection(inputs: int, outputs: int, stride: int, norm: str) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    return stack(("conv", conv), ("norm", image_norm(norm, outputs)))


def resnet(
    info: DataInfo,
    *,
    depth: Literal[18, 34, 20, 32, 44, 56] = 18,
    width: PositiveInt | None = None,
    norm: Literal["batch", "group"] = "batch",
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    init: Initialization = "kaiming",
) -> nn.Module:
    """A residual network of basic blocks, for images of any size.

    Args:
        depth: 18 and 34 have four stages, from 64 channels up; 20, 32, 44 and 56 three, from 16 up.
        width: Channels of the first stage in place of 64 or 16; each later stage has twice as many.
        norm: Batch norm, or group norm, which knows nothing of the other examples of a batch.
        dropout: Share of units dropped before the output.
        activation: After each norm.
        init: How weights are drawn.

    Raises:
        DataError: The inputs are no images.

    Source:
        He et al. 2016, sections 4.1 and 4.2; the stem of section 4.2 for all depths.
    """
    channels, _, _ = image_shape(info, "resnet")
    first, blocks = _PLANS[depth]
    first = width or first
    last = first * 2 ** (len(blocks) - 1)
    net = stack(
        ("conv1", nn.Conv2d(channels, first, 3, padding=1, bias=False)),
        ("norm1", image_norm(norm, first)),
        ("activation1", ACTIVATIONS[activation]()),
        *_stages(first, blocks, norm=norm, activation=activation),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("dropout", dropout_layer(dropout)),
        ("output", nn.Linear(last, info.num_classes)),
    )
    return initialize(net, init, activation=activation)


def _stages(
    width: int, blocks: tuple[int, ...], *, norm: str, activation: Activation
) -> Iterator[tuple[str, nn.Module]]:
    inputs = width
    for number, count in enumerate(blocks):
        outputs, made = width * 2**number, []
        for position in range(count):
            stride = 2 if number and not position else 1
            block = Block(inputs, outputs, stride=stride, norm=norm, activation=activation)
            made.append((f"block{position + 1}", block))
            inputs = outputs
        yield f"stage{number + 1}", stack(*made)
