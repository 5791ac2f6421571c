"""Texts by their words in any order, and by short phrases: the small and fast models of text.

Legend: B texts, T places, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nnray.data.splits import DataInfo
from nnray.fields import PositiveInt, Probability
from nnray.models.text import Embedding, head, is_text, masked_max, masked_mean, text_length


def embedding_bag(
    info: DataInfo, *, embedding: PositiveInt = 64, hidden: PositiveInt = 64, dropout: Probability = 0.2
) -> nn.Module:
    """The mean of a text's embeddings, a hidden layer, and an output: the order of words is lost.

    Args:
        embedding: Width of a token's vector.
        hidden: Units of the hidden layer.
        dropout: Share of the vectors' numbers and of the hidden units dropped.

    Source: Joulin et al., "Bag of Tricks for Efficient Text Classification", 2017; here with a hidden layer.
    """
    text_length(info, "embedding_bag")
    return _Bag(info, embedding=embedding, hidden=hidden, dropout=dropout)


def text_cnn(
    info: DataInfo,
    *,
    embedding: PositiveInt = 64,
    channels: PositiveInt = 64,
    kernels: Sequence[PositiveInt] = (2, 3, 4),
    dropout: Probability = 0.3,
) -> nn.Module:
    """Convolutions over phrases of several lengths, and the largest answer of each anywhere in the text.

    Args:
        embedding: Width of a token's vector.
        channels: Filters of each length.
        kernels: Lengths of the phrases, in tokens.
        dropout: Share of the vectors' numbers and of the answers dropped.

    Source: Kim, "Convolutional Neural Networks for Sentence Classification", 2014.
    """
    text_length(info, "text_cnn")
    return _Phrases(info, embedding=embedding, channels=channels, kernels=tuple(kernels), dropout=dropout)


class _Bag(nn.Module):
    def __init__(self, info: DataInfo, *, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = Embedding(info.vocabulary, embedding, dropout=dropout)
        self.hidden = nn.Linear(embedding, hidden)
        self.output = head(hidden, info, dropout=dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        mean_BD = masked_mean(self.embedding(ids_BT), is_text(ids_BT))
        logits: Tensor = self.output(self.hidden(mean_BD).relu())
        return logits


class _Phrases(nn.Module):
    def __init__(
        self, info: DataInfo, *, embedding: int, channels: int, kernels: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.kernels = kernels
        self.embedding = Embedding(info.vocabulary, embedding, dropout=dropout)
        self.filters = nn.ModuleList(nn.Conv1d(embedding, channels, length) for length in kernels)
        self.output = head(channels * len(kernels), info, dropout=dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BDT = self.embedding(ids_BT).transpose(1, 2)
        # A phrase begins in the text; beyond its end are zeros, however far the text is filled up.
        filters = zip(self.filters, self.kernels, strict=True)
        found = [each(pad(x_BDT, (0, size - 1))).relu().transpose(1, 2) for each, size in filters]
        text_BT = is_text(ids_BT)
        logits: Tensor = self.output(torch.cat([masked_max(each, text_BT) for each in found], dim=1))
        return logits
