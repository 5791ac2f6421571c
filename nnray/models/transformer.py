"""Transformers: an encoder that gives a text its class, and GPT, which gives each place its next token.

Legend: B texts, T places, D features, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.fields import PositiveInt, Probability
from nnray.models.layers import dropout_layer
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


def require_heads(width: int, heads: int) -> None:
    """Check that heads share the width evenly.

    Raises:
        ConfigError: They can't.
    """
    if width % heads:
        message = f"got {width} for {heads} heads; allowed: a multiple of model.heads"
        raise ConfigError("experiment", [Problem("model.width", message)])


class Block(nn.Module):
    """Attention, then two layers at each place; each adds to what was there.

    Args:
        width: Of the features.
        heads: Share them.
        dropout: Share dropped of what is added.
        causal: Whether a place sees only itself and what came before.
    """

    def __init__(self, width: int, heads: int, *, dropout: float, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = dropout_layer(dropout)

    def forward(self, x_BTD: Tensor, text_BT: Tensor | None = None) -> Tensor:
        """Let every place see the places that hold text."""
        x_BTD = x_BTD + self.dropout(self._attend(self.norm1(x_BTD), text_BT))
        inner = gelu(self.wide(self.norm2(x_BTD)))
        result: Tensor = x_BTD + self.dropout(self.narrow(inner))
        return result

    def _attend(self, x_BTD: Tensor, text_BT: Tensor | None) -> Tensor:
        places, width = x_BTD.shape[1:]
        parts = self.qkv(x_BTD).unflatten(2, (3, self.heads, width // self.heads))
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if text_BT is None else text_BT[:, None, None, :].expand(-1, 1, places, -1)
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        mixed: Tensor = self.mixed(seen.transpose(1, 2).flatten(2))
        return mixed


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
        x_BTD = self.embedding(ids_BT) + self.places
        for block in self.blocks:
            x_BTD = block(x_BTD, text_BT)
        logits: Tensor = self.output(masked_mean(self.norm(x_BTD), text_BT))
        return logits
