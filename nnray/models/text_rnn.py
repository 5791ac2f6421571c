"""Texts read token by token: LSTM and GRU, in one direction or both.

Both directions are two networks that each read a text from its first or its last token on, so that neither
reads what fills up before it reads the text; nothing depends on how far texts are filled up.

Legend: B texts, T places, D features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.fields import PositiveInt, Probability
from nnray.models.layers import dropout_layer
from nnray.models.recurrent import Cell, Recurrent
from nnray.models.text import Embedding, head, is_text, last_places, masked_max, masked_mean, text_length

Pooling = Literal["last", "max", "mean"]


def lstm(
    info: DataInfo,
    *,
    embedding: PositiveInt = 64,
    hidden: PositiveInt = 64,
    layers: PositiveInt = 1,
    bidirectional: bool = True,
    pooling: Pooling = "max",
    dropout: Probability = 0.3,
) -> nn.Module:
    """Long short-term memory over a text's tokens, and a class for the text.

    Args:
        embedding: Width of a token's vector.
        hidden: Units of each layer, in each direction.
        layers: How many stand on each other.
        bidirectional: Whether the text is read from its end, too.
        pooling: What of a text's states decides: the last, the largest or the mean of each unit.
        dropout: Share dropped of embeddings, between layers, and before the output.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997.
    """
    text_length(info, "lstm")
    reader = Reader("lstm", embedding, hidden, layers=layers, both=bidirectional, dropout=dropout)
    return _Recurrent(info, reader, embedding=embedding, pooling=pooling, dropout=dropout)


def gru(
    info: DataInfo,
    *,
    embedding: PositiveInt = 64,
    hidden: PositiveInt = 64,
    layers: PositiveInt = 1,
    bidirectional: bool = True,
    pooling: Pooling = "max",
    dropout: Probability = 0.3,
) -> nn.Module:
    """Gated recurrent units over a text's tokens, and a class for the text.

    Args:
        embedding: Width of a token's vector.
        hidden: Units of each layer, in each direction.
        layers: How many stand on each other.
        bidirectional: Whether the text is read from its end, too.
        pooling: What of a text's states decides: the last, the largest or the mean of each unit.
        dropout: Share dropped of embeddings, between layers, and before the output.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014.
    """
    text_length(info, "gru")
    reader = Reader("gru", embedding, hidden, layers=layers, both=bidirectional, dropout=dropout)
    return _Recurrent(info, reader, embedding=embedding, pooling=pooling, dropout=dropout)


class Reader(nn.Module):
    """Recurrent layers on each other, each read in one direction or both.

    Args:
        cell: ``lstm`` or ``gru``.
        width: Of what is read.
        hidden: Units of a layer, in each direction.
        layers: How many.
        both: Whether in both directions.
        dropout: Between layers.

    Shape:
        ``[B, T, width]`` and ``[B, T] bool``, what holds text, to ``[B, T, self.width]``.
    """

    def __init__(
        self,
        cell: Cell,
        width: int,
        hidden: int,
        *,
        layers: int = 1,
        both: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = hidden * (1 + both)
        widths = [width] + [self.width] * (layers - 1)
        self.onward = nn.ModuleList(Recurrent(cell, size, hidden) for size in widths)
        self.backward = nn.ModuleList(Recurrent(cell, size, hidden) for size in widths if both)
        self.dropout = dropout_layer(dropout)

    def forward(self, x_BTD: Tensor, text_BT: Tensor) -> Tensor:
        """States at all places; those beyond a text's end say nothing."""
        turned_BT = _turned(text_BT) if len(self.backward) else None
        for number, onward in enumerate(self.onward):
            x_BTD = self.dropout(x_BTD) if number else x_BTD
            states = onward(x_BTD)
            if turned_BT is not None:
                back = self.backward[number](_taken(x_BTD, turned_BT))
                states = torch.cat([states, _taken(back, turned_BT)], dim=2)
            x_BTD = states
        return x_BTD


class _Recurrent(nn.Module):
    def __init__(
        self, info: DataInfo, reader: Reader, *, embedding: int, pooling: Pooling, dropout: float
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.embedding = Embedding(info.vocabulary, embedding, dropout=dropout)
        self.reader = reader
        self.output = head(reader.width, info, dropout=dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        text_BT = is_text(ids_BT)
        states_BTD = self.reader(self.embedding(ids_BT), text_BT)
        logits: Tensor = self.output(self._pooled(states_BTD, text_BT))
        return logits

    def _pooled(self, states_BTD: Tensor, text_BT: Tensor) -> Tensor:
        if self.pooling == "max":
            return masked_max(states_BTD, text_BT)
        if self.pooling == "mean":
            return masked_mean(states_BTD, text_BT)
        return self._ends(states_BTD, last_places(text_BT))

    def _ends(self, states_BTD: Tensor, last_B: Tensor) -> Tensor:
        """Where each direction has read all: at the last place, and at the first."""
        end_BD = _taken(states_BTD, last_B[:, None])[:, 0]
        if not len(self.reader.backward):
            return end_BD
        half = self.reader.width // 2
        return torch.cat([end_BD[:, :half], states_BTD[:, 0, half:]], dim=1)


def _turned(text_BT: Tensor) -> Tensor:
    """Places of each text from its last to its first, then those that fill up: its own inverse."""
    places_T = torch.arange(text_BT.shape[1], device=text_BT.device)
    last_B1 = last_places(text_BT)[:, None]
    return torch.where(places_T <= last_B1, last_B1 - places_T, places_T)


def _taken(x_BTD: Tensor, places_BT: Tensor) -> Tensor:
    return x_BTD.gather(1, places_BT[:, :, None].expand(-1, -1, x_BTD.shape[2]))
