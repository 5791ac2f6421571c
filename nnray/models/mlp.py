"""Multi-layer perceptrons, for vectors and for images flattened to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

from torch import nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import Activation, Initialization, PositiveInt, Probability
from nnray.models.layers import ACTIVATIONS, dropout_layer, initialize, stack, vector_model, vector_norm
from nnray.models.tabular import answers


def mlp(
    info: DataInfo,
    *,
    hidden: Sequence[PositiveInt] = (256,),
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "layer"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """Fully connected layers; without hidden ones, logistic regression.

    Args:
        hidden: Units of each hidden layer.
        dropout: Share of units dropped after each hidden layer.
        activation: After each hidden layer.
        norm: Before each activation.
        init: How weights are drawn; default is torch's.

    Raises:
        DataError: Inputs are tokens, which are names and no quantities.
    """
    if info.vocabulary:
        raise DataError(
            f"model mlp takes numbers, the inputs of data set {info.name} are tokens of texts: use model "
            f"{vector_model(info)}"
        )
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    width = prod(info.input_shape)
    for number, units in enumerate(hidden, start=1):
        layers += [
            (f"hidden{number}", nn.Linear(width, units)),
            (f"norm{number}", vector_norm(norm, units)),
            (f"activation{number}", ACTIVATIONS[activation]()),
            (f"dropout{number}", dropout_layer(dropout)),
        ]
        width = units
    net = stack(*layers, *answers(info, width))
    return initialize(net, init, activation=activation)
