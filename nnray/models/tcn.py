"""A temporal convolutional network: each step sees its past through dilated causal convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from nnray.data.splits import DataInfo
from nnray.fields import Activation, PositiveInt, Probability
from nnray.models.layers import ACTIVATIONS, dropout_layer
from nnray.models.series import WindowNorm, output_layer, series_shape, window_normed


class CausalConv(nn.Conv1d):
    """A convolution whose output at a step depends on that step and those before it alone."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """As long as the input, zeros standing before its first step."""
        return super().forward(pad(input, (self.dilation[0] * (self.kernel_size[0] - 1), 0)))


class CausalBlock(nn.Module):
    """Two causal convolutions beside a shortcut.

    Args:
        channels: Of the inputs, and of the outputs.
        kernel: Steps of a convolution.
        dilation: Distance of the steps.
        dropout: After each convolution.
        activation: Likewise, and after the sum.
    """

    def __init__(
        self, channels: tuple[int, int], *, kernel: int, dilation: int, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        narrow, wide = channels
        self.conv1 = CausalConv(narrow, wide, kernel, dilation=dilation)
        self.conv2 = CausalConv(wide, wide, kernel, dilation=dilation)
        self.shortcut = nn.Conv1d(narrow, wide, 1) if narrow != wide else nn.Identity()
        self.activation, self.dropout = ACTIVATIONS[activation](), dropout_layer(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """From ``[B, C, T]`` to ``[B, C', T]``."""
        x = self.dropout(self.activation(self.conv1(inputs)))
        x = self.dropout(self.activation(self.conv2(x)))
        outputs: Tensor = self.activation(x + self.shortcut(inputs))
        return outputs


def tcn(
    info: DataInfo,
    *,
    channels: Sequence[PositiveInt] = (32, 32, 32, 32),
    kernel: PositiveInt = 3,
    activation: Activation = "relu",
    dropout: Probability = 0.0,
    window_norm: WindowNorm = "none",
) -> nn.Module:
    """A temporal convolutional network; with L blocks it sees 1 + 2 (kernel - 1) (2^L - 1) steps back.

    Args:
        channels: Of each block; the dilation doubles from block to block.
        kernel: Steps of a convolution.
        activation: After each convolution.
        dropout: Share of values dropped after each convolution.
        window_norm: Take each window's level off and add it to the forecast: its last value (last), or its
            mean, and divide by its deviation (standard).

    Source:
        Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and recurrent networks for
        sequence modeling", 2018; without their weight norm.
    """
    width, _ = series_shape(info, "tcn")
    blocks: list[nn.Module] = []
    for number, wide in enumerate(channels):
        blocks.append(
            CausalBlock(
                (width, wide), kernel=kernel, dilation=2**number, dropout=dropout, activation=activation
            )
        )
        width = wide
    net = nn.Sequential(*blocks, LastStep(), output_layer(width, info))
    return window_normed(net, info, kind=window_norm)


class LastStep(nn.Module):
    """The last step of a series, ``[B, C]``."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Of ``[B, C, T]``."""
        return inputs[..., -1]
