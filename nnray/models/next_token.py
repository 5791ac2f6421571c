"""Models that give each place of a text its next token: a recurrent one, and a small GPT.

Legend: B texts, T places, D features, K tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import PositiveInt, Probability
from nnray.models.attention import Block, require_heads
from nnray.models.layers import dropout_layer
from nnray.models.text import Embedding, is_text, token_length
from nnray.models.text_rnn import Reader


def char_lstm(
    info: DataInfo,
    *,
    embedding: PositiveInt = 32,
    hidden: PositiveInt = 256,
    layers: PositiveInt = 1,
    dropout: Probability = 0.0,
) -> nn.Module:
    """An LSTM that tells the next token after each.

    Args:
        embedding: Width of a token's vector.
        hidden: Units of each layer.
        layers: How many stand on each other.
        dropout: Share dropped of embeddings, between layers, and before the output.

    Source: McMahan et al., 2017, section 3: there 8 wide, with two layers of 256.
    """
    _require_next(info, "char_lstm")
    return _Recurrent(info, embedding=embedding, hidden=hidden, layers=layers, dropout=dropout)


def gpt(
    info: DataInfo,
    *,
    width: PositiveInt = 128,
    heads: PositiveInt = 4,
    layers: PositiveInt = 3,
    dropout: Probability = 0.1,
) -> nn.Module:
    """A small decoder-only transformer: each place sees itself and what came before.

    Args:
        width: Of a token's vector, a multiple of the heads.
        heads: Attention heads of each layer.
        layers: Blocks on each other.
        dropout: Share dropped of embeddings and in each block.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
    """
    length = _require_next(info, "gpt")
    require_heads(width, heads)
    return _Gpt(info, length, width=width, heads=heads, layers=layers, dropout=dropout)


def _require_next(info: DataInfo, model: str) -> int:
    length = token_length(info, model)
    if info.targets != "classes" or info.target_shape != info.input_shape:
        raise DataError(
            f"model {model} tells the next token at each place, data set {info.name} asks for {info.targets} "
            f"of shape {list(info.target_shape)}: use a model such as lstm for the class of a text"
        )
    return length


class _Recurrent(nn.Module):
    def __init__(self, info: DataInfo, *, embedding: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = Embedding(info.vocabulary, embedding, dropout=dropout)
        self.reader = Reader("lstm", embedding, hidden, layers=layers, dropout=dropout)
        self.dropout = dropout_layer(dropout)
        self.output = nn.Linear(hidden, info.num_classes)

    def forward(self, ids_BT: Tensor) -> Tensor:
        states_BTD = self.reader(self.embedding(ids_BT), is_text(ids_BT))
        logits_BTK: Tensor = self.output(self.dropout(states_BTD))
        return logits_BTK.transpose(1, 2)


class _Gpt(nn.Module):
    def __init__(
        self, info: DataInfo, length: int, *, width: int, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = Embedding(info.vocabulary, width, dropout=dropout)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width, heads, dropout=dropout, causal=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, info.num_classes)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(ids_BT) + self.places[: ids_BT.shape[1]]
        # What fills up stands at the end: no place before it sees it.
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTK: Tensor = self.output(self.norm(x_BTD))
        return logits_BTK.transpose(1, 2)
