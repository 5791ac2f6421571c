"""A transformer encoder that gives a text its class.

Legend: B texts, T places, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.fields import PositiveInt, Probability
from nnray.models.attention import Block, require_heads
from nnray.models.text import Embedding, head, is_text, masked_mean, text_length


def text_transformer(
    info: DataInfo,
    *,
    width: PositiveInt = 64,
    heads: PositiveInt = 4,
    layers: PositiveInt = 2,
    dropout: Probability = 0.2,
) -> nn.Module:
    """A small transformer encoder, and the mean over a text's places for its class.

    Args:
        width: Of a token's vector, a multiple of the heads.
        heads: Attention heads of each layer.
        layers: Blocks on each other.
        dropout: Share dropped of embeddings, in each block, and before the output.

    Source: Vaswani et al., "Attention Is All You Need", 2017; norms stand first, places are learnt.
    """
    length = text_length(info, "text_transformer")
    require_heads(width, heads)
    return _Encoder(info, length, width=width, heads=heads, layers=layers, dropout=dropout)


class _Encoder(nn.Module):
    def __init__(
        self, info: DataInfo, length: int, *, width: int, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = Embedding(info.vocabulary, width, dropout=dropout)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = head(width, info, dropout=dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        text_BT = is_text(ids_BT)
        x_BTD = self.embedding(ids_BT) + self.places[: ids_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD, text_BT)
        logits: Tensor = self.output(masked_mean(self.norm(x_BTD), text_BT))
        return logits
