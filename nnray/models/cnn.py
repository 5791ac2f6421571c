"""Small convolutional networks. Sizes are worked out from the data; nothing is assumed of them.

Max pooling stands before the activation: for monotone activations that is the same function, on a quarter
of the values.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from nnray.data.splits import DataInfo
from nnray.fields import Activation, Initialization, PositiveInt, Probability
from nnray.models.layers import (
    ACTIVATIONS,
    dropout_layer,
    image_norm,
    image_shape,
    initialize,
    stack,
    vector_norm,
)


def cnn(
    info: DataInfo,
    *,
    channels: tuple[PositiveInt, PositiveInt] = (32, 64),
    hidden: PositiveInt = 128,
    dropout: Probability = 0.25,
    dropout_head: Probability = 0.5,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "group"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """Two 3x3 convolutions, pooling, a hidden layer and two dropouts.

    Args:
        channels: Of the two convolutions.
        hidden: Units of the hidden layer.
        dropout: Share of units dropped after pooling.
        dropout_head: Share of units dropped before the output.
        activation: After each layer but the last.
        norm: After each convolution.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are no images of 6 x 6 pixels or more.
    """
    depth, height, width = image_shape(info, "cnn", smallest=6)
    first, second = channels
    act, bias = ACTIVATIONS[activation], norm == "none"
    net = stack(
        ("conv1", nn.Conv2d(depth, first, 3, bias=bias)),
        ("norm1", image_norm(norm, first)),
        ("activation1", act()),
        ("conv2", nn.Conv2d(first, second, 3, bias=bias)),
        ("norm2", image_norm(norm, second)),
        ("pool2", nn.MaxPool2d(2)),
        ("activation2", act()),
        ("dropout", dropout_layer(dropout)),
        ("flatten", nn.Flatten()),
        ("hidden", nn.Linear(second * ((height - 4) // 2) * ((width - 4) // 2), hidden)),
        ("activation3", act()),
        ("dropout_head", dropout_layer(dropout_head)),
        ("output", nn.Linear(hidden, info.num_classes)),
    )
    return initialize(net, init, activation=activation)


def simple_cnn(
    info: DataInfo,
    *,
    channels: PositiveInt = 32,
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "group"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """One 3x3 convolution, pooling, and a softmax layer.

    Args:
        channels: Of the convolution.
        dropout: Share of units dropped before the output.
        activation: After the convolution.
        norm: After the convolution.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are no images of 4 x 4 pixels or more.
    """
    depth, height, width = image_shape(info, "simple_cnn", smallest=4)
    net = stack(
        ("conv1", nn.Conv2d(depth, channels, 3, bias=norm == "none")),
        ("norm1", image_norm(norm, channels)),
        ("pool1", nn.MaxPool2d(2)),
        ("activation1", ACTIVATIONS[activation]()),
        ("dropout", dropout_layer(dropout)),
        ("flatten", nn.Flatten()),
        ("output", nn.Linear(channels * ((height - 2) // 2) * ((width - 2) // 2), info.num_classes)),
    )
    return initialize(net, init, activation=activation)


def lenet(
    info: DataInfo,
    *,
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    pooling: Literal["max", "average"] = "max",
    norm: Literal["none", "batch", "group"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """LeNet-5: 6 and 16 channels of 5x5, then 120 and 84 units.

    Images of 28 x 28 are padded to 32 x 32, where the classic sizes come from; images whose maps would
    vanish are padded at the second convolution too.

    Args:
        dropout: Share of units dropped after each hidden layer.
        activation: After each layer but the last; the original has tanh.
        pooling: After each convolution; the original has average.
        norm: After each convolution.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are no images of 4 x 4 pixels or more.

    Source:
        LeCun et al. 1998, figure 2, with full connections and a softmax layer.
    """
    depth, height, width = image_shape(info, "lenet", smallest=4)
    pad1 = 2 if min(height, width) < 32 else 0
    height, width = ((side + 2 * pad1 - 4) // 2 for side in (height, width))
    pad2 = 2 if min(height, width) < 6 else 0
    height, width = ((side + 2 * pad2 - 4) // 2 for side in (height, width))
    act, bias = ACTIVATIONS[activation], norm == "none"
    pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
    net = stack(
        ("conv1", nn.Conv2d(depth, 6, 5, padding=pad1, bias=bias)),
        ("norm1", image_norm(norm, 6)),
        ("activation1", act()),
        ("pool1", pool(2)),
        ("conv2", nn.Conv2d(6, 16, 5, padding=pad2, bias=bias)),
        ("norm2", image_norm(norm, 16)),
        ("activation2", act()),
        ("pool2", pool(2)),
        ("flatten", nn.Flatten()),
        ("hidden1", nn.Linear(16 * height * width, 120)),
        ("activation3", act()),
        ("dropout1", dropout_layer(dropout)),
        ("hidden2", nn.Linear(120, 84)),
        ("activation4", act()),
        ("dropout2", dropout_layer(dropout)),
        ("output", nn.Linear(84, info.num_classes)),
    )
    return initialize(net, init, activation=activation)


def cifar_cnn(
    info: DataInfo,
    *,
    channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 64),
    hidden: PositiveInt = 64,
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "group"] = "none",
    padding: Literal["same", "valid"] = "same",
    init: Initialization = "default",
) -> nn.Module:
    """Three 3x3 convolutions with pooling between them, and a hidden layer.

    Args:
        channels: Of the three convolutions.
        hidden: Units of the hidden layer.
        dropout: Share of units dropped before and after the hidden layer.
        activation: After each layer but the last.
        norm: After each convolution, and batch norm after the hidden layer with ``batch``.
        padding: ``same`` keeps the size of a map at a convolution; ``valid`` takes 2 pixels off it.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: The inputs are no images of 4 x 4 pixels or more (18 x 18 with ``valid``).
    """
    smallest = 4 if padding == "same" else 18
    depth, height, width = image_shape(info, "cifar_cnn", smallest=smallest)
    act, bias = ACTIVATIONS[activation], norm == "none"
    layers: list[tuple[str, nn.Module]] = []
    for number, units in enumerate(channels, start=1):
        last = number == len(channels)
        layers += [
            (f"conv{number}", nn.Conv2d(depth, units, 3, padding=padding, bias=bias)),
            (f"norm{number}", image_norm(norm, units)),
            (f"pool{number}", nn.Identity() if last else nn.MaxPool2d(2)),
            (f"activation{number}", act()),
        ]
        depth = units
        height, width = (_after(side, padding, pooled=not last) for side in (height, width))
    net = stack(
        *layers,
        ("flatten", nn.Flatten()),
        ("dropout1", dropout_layer(dropout)),
        ("hidden", nn.Linear(depth * height * width, hidden)),
        ("norm_hidden", vector_norm("batch" if norm == "batch" else "none", hidden)),
        ("activation_hidden", act()),
        ("dropout2", dropout_layer(dropout)),
        ("output", nn.Linear(hidden, info.num_classes)),
    )
    return initialize(net, init, activation=activation)


def _after(side: int, padding: str, *, pooled: bool) -> int:
    kept = side if padding == "same" else side - 2
    return kept // 2 if pooled else kept
