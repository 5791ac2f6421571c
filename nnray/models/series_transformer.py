"""A transformer encoder over patches of a time series."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.fields import PositiveInt, Probability
from nnray.models.attention import Block
from nnray.models.series import WindowNorm, output_layer, series_shape, window_normed


class SeriesTransformer(nn.Module):
    """Patches of a window as tokens, encoder blocks, and a linear layer on all of them.

    Args:
        info: Of the data.
        patch: Steps of a patch.
        width: Of a patch's vector.
        layers: Number of blocks.
        heads: Of attention.
        dropout: In the blocks.
    """

    def __init__(
        self, info: DataInfo, *, patch: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        channels, past = info.input_shape
        self.patch, num_patches = patch, -(-past // patch)
        self.fill = num_patches * patch - past
        self.embed = nn.Linear(channels * patch, width)
        self.position = nn.Parameter(0.02 * torch.randn(num_patches, width))
        self.blocks = nn.Sequential(*(Block(width, heads, dropout=dropout) for _ in range(layers)))
        self.norm, self.output = nn.LayerNorm(width), output_layer(num_patches * width, info)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs for windows ``[B, C, T]``."""
        first = inputs[..., :1].expand(-1, -1, self.fill)
        patches_BCPS = torch.cat([first, inputs], dim=-1).unfold(2, self.patch, self.patch)
        tokens_BPW = self.embed(patches_BCPS.transpose(1, 2).flatten(2)) + self.position
        outputs: Tensor = self.output(self.norm(self.blocks(tokens_BPW)).flatten(1))
        return outputs


def series_transformer(
    info: DataInfo,
    *,
    patch: PositiveInt = 8,
    width: PositiveInt = 64,
    layers: PositiveInt = 2,
    heads: PositiveInt = 4,
    dropout: Probability = 0.0,
    window_norm: WindowNorm = "none",
) -> nn.Module:
    """A transformer encoder whose tokens are patches of all channels.

    Args:
        patch: Steps of a patch; the first value stands in before a window that is no multiple of it.
        width: Of a patch's vector; a multiple of the heads.
        layers: Encoder blocks.
        heads: Of attention.
        dropout: Share of units dropped after attention and after the network of each block.
        window_norm: Take each window's level off and add it to the forecast: its last value (last), or its
            mean, and divide by its deviation (standard).

    Source:
        Vaswani et al., "Attention is all you need", 2017; patches as in Nie et al., "A time series is worth
        64 words", 2023, but with all channels in a token; norms before, as in Xiong et al., 2020.
    """
    series_shape(info, "series_transformer")
    if width % heads:
        problem = Problem("model.width", f"got {width} for {heads} heads; allowed: multiples of model.heads")
        raise ConfigError("experiment", [problem])
    net = SeriesTransformer(info, patch=patch, width=width, layers=layers, heads=heads, dropout=dropout)
    return window_normed(net, info, kind=window_norm)
