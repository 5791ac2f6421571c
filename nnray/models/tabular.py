"""Networks for tables: categories are embedded, quantities stand beside them.

Without categories they take vectors, and images flattened to vectors. Suffixes: B examples, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import Activation, Initialization, PositiveInt, Probability
from nnray.models.layers import ACTIVATIONS, dropout_layer, initialize, stack, vector_norm


class Cells(nn.Module):
    """One vector for each row: its quantities, and a learnt vector for each of its categories.

    Code 0, for what is missing or was not seen in training, starts as a vector of zeros.

    Args:
        categories: By feature, into how many categories it parts examples; 0 for a quantity.
        width: Of a category's vector, at most; one of n categories has ``(n + 1) // 2``, if that is less.

    Source: Guo and Berkhahn, "Entity embeddings of categorical variables", 2016.
    """

    named: Tensor
    counted: Tensor

    def __init__(self, categories: Sequence[int], *, width: int) -> None:
        super().__init__()
        sizes = [count for count in categories if count]
        at = torch.arange(len(categories))
        is_named = torch.tensor([count > 0 for count in categories], dtype=torch.bool)
        self.register_buffer("named", at[is_named], persistent=False)
        self.register_buffer("counted", at[~is_named], persistent=False)
        self.tables = nn.ModuleList(nn.Embedding(n, min(width, (n + 1) // 2)) for n in sizes)
        self.width = len(self.counted) + sum(table.embedding_dim for table in self.tables)  # type: ignore[misc]
        with torch.no_grad():
            for table in self.tables:
                table.weight[0] = 0  # type: ignore[operator]

    def forward(self, inputs_BF: Tensor) -> Tensor:
        """Vectors of rows, ``[B, width]``."""
        codes = inputs_BF[:, self.named].long()
        vectors = [table(codes[:, number]) for number, table in enumerate(self.tables)]
        return torch.cat([inputs_BF[:, self.counted], *vectors], dim=1)


class ResidualBlock(nn.Module):
    """Norm, a wider layer and back, added to what came in."""

    def __init__(self, width: int, *, factor: float, norm: str, dropout: float) -> None:
        super().__init__()
        inner = max(1, round(width * factor))
        self.change = stack(
            ("norm", vector_norm(norm, width)),
            ("wider", nn.Linear(width, inner)),
            ("activation", nn.ReLU()),
            ("dropout", dropout_layer(dropout)),
            ("back", nn.Linear(inner, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The rows, changed."""
        changed: Tensor = x + self.change(x)
        return changed


def tabular_mlp(
    info: DataInfo,
    *,
    hidden: Sequence[PositiveInt] = (128, 64),
    embedding: PositiveInt = 8,
    dropout: Probability = 0.0,
    activation: Activation = "relu",
    norm: Literal["none", "batch", "layer"] = "none",
    init: Initialization = "default",
) -> nn.Module:
    """Fully connected layers over quantities and embedded categories.

    Args:
        hidden: Units of each hidden layer; none for a model that is linear in the embeddings.
        embedding: Numbers by which a category is described, at most; fewer for a feature of few categories.
        dropout: Share of units dropped after each hidden layer.
        activation: After each hidden layer.
        norm: Before each activation.
        init: How weights of layers are drawn; default is torch's.
    """
    cells, width = rows_to_vectors(info, "tabular_mlp", embedding=embedding)
    layers: list[tuple[str, nn.Module]] = [("cells", cells)]
    for number, units in enumerate(hidden, start=1):
        layers += [
            (f"hidden{number}", nn.Linear(width, units)),
            (f"norm{number}", vector_norm(norm, units)),
            (f"activation{number}", ACTIVATIONS[activation]()),
            (f"dropout{number}", dropout_layer(dropout)),
        ]
        width = units
    return initialize(stack(*layers, *answers(info, width)), init, activation=activation)


def tabular_resnet(
    info: DataInfo,
    *,
    width: PositiveInt = 64,
    depth: PositiveInt = 2,
    factor: Literal[1, 2, 4] = 2,
    embedding: PositiveInt = 8,
    dropout: Probability = 0.0,
    norm: Literal["batch", "layer"] = "layer",
    init: Initialization = "default",
) -> nn.Module:
    """A residual network over quantities and embedded categories.

    Args:
        width: Units between blocks.
        depth: Number of blocks.
        factor: How many times wider a block is inside.
        embedding: Numbers by which a category is described, at most; fewer for a feature of few categories.
        dropout: Share of units dropped inside each block.
        norm: Before each block and before the output.
        init: How weights of layers are drawn; default is torch's.

    Source: Gorishniy et al., "Revisiting deep learning models for tabular data", 2021, section 3.2; layer
        norm is the default in place of batch norm, as it knows no statistics that clients would differ in.
    """
    cells, size = rows_to_vectors(info, "tabular_resnet", embedding=embedding)
    blocks = [
        (f"block{number}", ResidualBlock(width, factor=factor, norm=norm, dropout=dropout))
        for number in range(1, depth + 1)
    ]
    last = [("norm", vector_norm(norm, width)), ("activation", nn.ReLU())]
    net = stack(("cells", cells), ("input", nn.Linear(size, width)), *blocks, *last, *answers(info, width))
    return initialize(net, init)


def rows_to_vectors(info: DataInfo, model: str, *, embedding: int) -> tuple[nn.Module, int]:
    """The first layer of a model for tables, and the width of what it gives.

    Raises:
        DataError: Inputs are tokens.
    """
    if info.vocabulary:
        raise DataError(f"model {model} takes tables, the inputs of data set {info.name} are tokens")
    if not info.categories:
        return nn.Flatten(), prod(info.input_shape)
    cells = Cells(info.categories, width=embedding)
    return cells, cells.width


def answers(info: DataInfo, width: int) -> list[tuple[str, nn.Module]]:
    """The last layer: logits of classes, or as many numbers as are to be answered, in their shape.

    Raises:
        DataError: Boxes are to be answered.
    """
    shape = info.output_shape
    if shape is None:
        raise DataError(f"a network of vectors can't answer with {info.targets}, for which {info.name} asks")
    output = ("output", nn.Linear(width, prod(shape)))
    return [output] if len(shape) == 1 else [output, ("shape", nn.Unflatten(1, shape) if shape else Only())]


class Only(nn.Module):
    """The one number of each example, without a dimension for it."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B]`` of ``[B, 1]``."""
        return x[:, 0]
