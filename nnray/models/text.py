"""What models of text share: embeddings, which places hold text, and what is made of a sequence.

Id 0 fills up what is short. The first place always counts as text, so that a text of nothing has an answer.

Legend: B texts, T places, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.layers import dropout_layer


class Embedding(nn.Module):
    """A vector for each token; zero for what fills up.

    Args:
        vocabulary: How many tokens there are.
        width: Of a vector.
        dropout: Share of its numbers dropped.
    """

    def __init__(self, vocabulary: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width, padding_idx=0)
        self.dropout = dropout_layer(dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Look them up: ``[B, T, D]``."""
        vectors: Tensor = self.dropout(self.table(ids_BT))
        return vectors


def is_text(ids_BT: Tensor) -> Tensor:
    """Which places hold text, ``[B, T]``."""
    first = torch.arange(ids_BT.shape[1], device=ids_BT.device) == 0
    return (ids_BT != 0) | first


def last_places(text_BT: Tensor) -> Tensor:
    """The last place of each text, ``[B]``."""
    return (text_BT * torch.arange(text_BT.shape[1], device=text_BT.device)).amax(1)


def masked_mean(x_BTD: Tensor, text_BT: Tensor) -> Tensor:
    """The mean over places that hold text, ``[B, D]``."""
    weight_BT1 = text_BT[:, :, None].to(x_BTD.dtype)
    return (x_BTD * weight_BT1).sum(1) / weight_BT1.sum(1)


def masked_max(x_BTD: Tensor, text_BT: Tensor) -> Tensor:
    """The largest over places that hold text, ``[B, D]``."""
    return x_BTD.masked_fill(~text_BT[:, :, None], torch.finfo(x_BTD.dtype).min).amax(1)


def text_length(info: DataInfo, model: str) -> int:
    """How many places a text has, for a model that gives each text a class.

    Raises:
        DataError: The inputs are no tokens, or it is not classes of texts that are asked for.
    """
    length = token_length(info, model)
    if info.targets != "class":
        raise DataError(
            f"model {model} gives each text a class, but data set {info.name} asks for {info.targets}: use a "
            "model for those, such as char_lstm or gpt for the next token"
        )
    return length


def token_length(info: DataInfo, model: str) -> int:
    """How many tokens an input has.

    Raises:
        DataError: The inputs are no tokens.
    """
    if not info.vocabulary or len(info.input_shape) != 1:
        raise DataError(
            f"model {model} takes tokens of texts, the inputs of data set {info.name} are numbers of shape "
            f"{list(info.input_shape)}: use a data set of texts, such as text_csv, or model mlp"
        )
    return info.input_shape[0]


def head(width: int, info: DataInfo, *, dropout: float) -> nn.Module:
    """From what is made of a text to a logit for each class."""
    return nn.Sequential(dropout_layer(dropout), nn.Linear(width, info.num_classes))
