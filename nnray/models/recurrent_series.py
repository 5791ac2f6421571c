"""Recurrent networks for time series: the state after the last step tells the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.fields import PositiveInt, Probability
from nnray.models.layers import dropout_layer
from nnray.models.recurrent import Cell, Recurrent
from nnray.models.series import WindowNorm, output_layer, series_shape, window_normed


class BothWays(nn.Module):
    """A recurrent layer that reads a series forwards, and where asked another that reads it backwards.

    Args:
        cell: Which.
        width: Of the inputs.
        units: Of each direction.
        bidirectional: Whether to read backwards too.

    Shape:
        ``[B, T, width]`` to the states ``[B, T, units]``, those of both directions beside each other.
    """

    def __init__(self, cell: Cell, width: int, *, units: int, bidirectional: bool) -> None:
        super().__init__()
        self.forwards = Recurrent(cell, width, units)
        self.backwards = Recurrent(cell, width, units) if bidirectional else None

    def forward(self, x_BTC: Tensor) -> tuple[Tensor, Tensor]:
        """States after each step, and those after which each direction has read all."""
        states: Tensor = self.forwards(x_BTC)
        last = states[:, -1]
        if self.backwards is None:
            return states, last
        others: Tensor = self.backwards(x_BTC.flip(1)).flip(1)
        return torch.cat([states, others], dim=2), torch.cat([last, others[:, 0]], dim=1)


class RecurrentSeries(nn.Module):
    """Recurrent layers over time, and a linear layer on the last one's states after all is read.

    Args:
        info: Of the data.
        cell: Which.
        sizes: Units of each layer, in each direction.
        bidirectional: Whether each layer reads the window backwards too.
        dropout: After each layer.

    Shape:
        inputs: ``[B, C, T]``.
    """

    def __init__(
        self, info: DataInfo, *, cell: Cell, sizes: tuple[int, ...], bidirectional: bool, dropout: float
    ) -> None:
        super().__init__()
        ways = 2 if bidirectional else 1
        widths = (info.input_shape[0], *(ways * size for size in sizes))
        self.layers = nn.ModuleList(
            BothWays(cell, width, units=size, bidirectional=bidirectional)
            for width, size in zip(widths, sizes, strict=False)
        )
        self.dropout = dropout_layer(dropout)
        self.output = output_layer(widths[-1], info)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs for each window."""
        states_BTU, last_BU = inputs.transpose(1, 2), inputs[..., -1]
        for layer in self.layers:
            states_BTU, last_BU = layer(states_BTU)
            states_BTU, last_BU = self.dropout(states_BTU), self.dropout(last_BU)
        outputs: Tensor = self.output(last_BU)
        return outputs


def series_lstm(
    info: DataInfo,
    *,
    units: PositiveInt = 64,
    layers: PositiveInt = 1,
    bidirectional: bool = False,
    dropout: Probability = 0.0,
    window_norm: WindowNorm = "none",
) -> nn.Module:
    """Long short-term memory over a time series.

    Args:
        units: Of each layer, in each direction.
        layers: One upon the other.
        bidirectional: Read the window backwards too; all of it is past.
        dropout: Share of units dropped after each layer.
        window_norm: Take each window's level off and add it to the forecast: its last value (last), or its
            mean, and divide by its deviation (standard).

    Source:
        Hochreiter and Schmidhuber, "Long short-term memory", 1997.
    """
    return _recurrent(
        info, "lstm", (units,) * layers, bidirectional=bidirectional, dropout=dropout, window_norm=window_norm
    )


def series_gru(
    info: DataInfo,
    *,
    units: PositiveInt = 64,
    layers: PositiveInt = 1,
    bidirectional: bool = False,
    dropout: Probability = 0.0,
    window_norm: WindowNorm = "none",
) -> nn.Module:
    """Gated recurrent units over a time series.

    Args:
        units: Of each layer, in each direction.
        layers: One upon the other.
        bidirectional: Read the window backwards too; all of it is past.
        dropout: Share of units dropped after each layer.
        window_norm: Take each window's level off and add it to the forecast: its last value (last), or its
            mean, and divide by its deviation (standard).

    Source:
        Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
    """
    return _recurrent(
        info, "gru", (units,) * layers, bidirectional=bidirectional, dropout=dropout, window_norm=window_norm
    )


def _recurrent(
    info: DataInfo,
    cell: Cell,
    sizes: tuple[int, ...],
    *,
    bidirectional: bool,
    dropout: float,
    window_norm: WindowNorm,
) -> nn.Module:
    series_shape(info, f"series_{cell}")
    net = RecurrentSeries(info, cell=cell, sizes=sizes, bidirectional=bidirectional, dropout=dropout)
    return window_normed(net, info, kind=window_norm)
