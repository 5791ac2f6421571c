"""A block of a transformer, of texts and of series alike.

Legend: B examples, T places, D features.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from nnray.errors import ConfigError, Problem
from nnray.models.layers import dropout_layer


def require_heads(width: int, heads: int) -> None:
    """Check that heads share the width evenly.

    Raises:
        ConfigError: They can't.
    """
    if width % heads:
        message = f"got {width} for {heads} heads; allowed: a multiple of model.heads"
        raise ConfigError("experiment", [Problem("model.width", message)])


class Block(nn.Module):
    """Attention, then two layers at each place; each adds to what was there, norms come before.

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
        """Let every place see all others, or those that hold text."""
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
