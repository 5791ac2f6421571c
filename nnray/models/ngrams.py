"""Texts by their runs of tokens: every run of some lengths has a vector, and their mean tells the class.

Runs are numbered by a hash, so that none has to be listed; two that share a number share a vector. Over
characters they are parts of words, so that words never seen, misspelt or run together are known by theirs.

Legend: B texts, T places, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.fields import PositiveInt, Probability
from nnray.models.text import Embedding, head, is_text, text_length

_PRIME, _FACTOR = 2**31 - 1, 48271
"""Of the multiplicative hash; products of two stay below 2 ** 63."""
Rows = Annotated[int, Field(ge=2)]


def ngram_bag(
    info: DataInfo,
    *,
    sizes: Sequence[PositiveInt] = (1, 2, 3, 4, 5),
    rows: Rows = 2**16,
    embedding: PositiveInt = 16,
    dropout: Probability = 0.2,
) -> nn.Module:
    """The mean of the embeddings of a text's runs of tokens, and an output: small, fast, and hard to beat.

    Args:
        sizes: Lengths of runs, in tokens; for tokens that are characters, parts of words.
        rows: Vectors that all runs share by their hash.
        embedding: Width of a run's vector.
        dropout: Share of the mean's numbers dropped.

    Source: Joulin et al., "Bag of Tricks for Efficient Text Classification", 2017, section 2.1; Bojanowski et
        al., "Enriching Word Vectors with Subword Information", 2017. The hash is Lehmer's generator.
    """
    text_length(info, "ngram_bag")
    return _Bag(info, tuple(sizes), rows=rows, embedding=embedding, dropout=dropout)


class _Bag(nn.Module):
    def __init__(
        self, info: DataInfo, sizes: tuple[int, ...], *, rows: int, embedding: int, dropout: float
    ) -> None:
        super().__init__()
        self.sizes, self.rows = sizes, rows
        self.embedding = Embedding(rows, embedding)
        self.output = head(embedding, info, dropout=dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        text_BT = is_text(ids_BT)
        numbers = [run_numbers(ids_BT, text_BT, size=size, rows=self.rows) for size in self.sizes]
        runs_BN = torch.cat(numbers, dim=1)
        # A text that is shorter than every run has none, and is told by the bias alone.
        count_B1 = (runs_BN != 0).sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.output(self.embedding(runs_BN).sum(1) / count_B1)
        return logits


def run_numbers(ids_BT: Tensor, text_BT: Tensor, *, size: int, rows: int) -> Tensor:
    """The number of the run of tokens that begins at each place; 0 where the text ends within it.

    Args:
        ids_BT: Ids of tokens.
        text_BT: Which places hold text.
        size: Tokens of a run.
        rows: Numbers go from 1 to one below this.

    Shape:
        ``[B, T] int64``
    """
    found = torch.full_like(ids_BT, size)
    for place in range(size):
        found = (found * _FACTOR + _shifted(ids_BT, place) + 1) % _PRIME
    return (found % (rows - 1) + 1) * _shifted(text_BT.to(ids_BT.dtype), size - 1)


def _shifted(values_BT: Tensor, places: int) -> Tensor:
    """What stands so many places further on; 0 beyond the end."""
    length = values_BT.shape[1]
    return nn.functional.pad(values_BT, (0, places))[:, places : places + length]
