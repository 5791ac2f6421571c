"""Linear forecasts of a trend and of what is left: the plain model that others must beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from nnray.data.splits import DataInfo
from nnray.fields import PositiveInt, Probability
from nnray.models.layers import dropout_layer
from nnray.models.series import WindowNorm, forecast_shape, series_shape, window_normed


class DLinear(nn.Module):
    """A moving average and the rest, each carried on by a linear layer over time that all channels share.

    Args:
        past: Steps seen, T.
        shape: Of a forecast, ``(D, H)``.
        kernel: Steps of the moving average.
        dropout: Share of steps dropped before the linear layers.

    Shape:
        inputs: ``[B, C, T]``, of which the first D channels count.
    """

    def __init__(self, past: int, *, shape: tuple[int, int], kernel: int, dropout: float) -> None:
        super().__init__()
        self.num_targets, self.kernel = shape[0], kernel
        self.dropout = dropout_layer(dropout)
        self.trend, self.rest = nn.Linear(past, shape[1]), nn.Linear(past, shape[1])

    def forward(self, inputs: Tensor) -> Tensor:
        """Forecasts ``[B, D, H]``."""
        x_BDT = inputs[:, : self.num_targets]
        trend_BDT = moving_average(x_BDT, self.kernel)
        rest: Tensor = self.rest(self.dropout(x_BDT - trend_BDT))
        outputs: Tensor = self.trend(self.dropout(trend_BDT)) + rest
        return outputs


def moving_average(x: Tensor, kernel: int) -> Tensor:
    """The centred mean over so many steps, the first and the last value standing in beyond the ends.

    Shape:
        x: ``[B, C, T]``, and so the result.
    """
    before = (kernel - 1) // 2
    first = x[..., :1].expand(-1, -1, before)
    last = x[..., -1:].expand(-1, -1, kernel - 1 - before)
    return avg_pool1d(torch.cat([first, x, last], dim=-1), kernel, stride=1)


def dlinear(
    info: DataInfo,
    *,
    kernel: PositiveInt = 25,
    dropout: Probability = 0.0,
    window_norm: WindowNorm = "none",
) -> nn.Module:
    """Two linear layers over time, for the trend and for the rest, shared by all channels; forecasts only.

    Args:
        kernel: Steps of the moving average that is the trend.
        dropout: Share of steps dropped before the linear layers.
        window_norm: Take each window's level off and add it to the forecast: its last value (last), or its
            mean, and divide by its deviation (standard).

    Source:
        Zeng et al., "Are transformers effective for time series forecasting?", 2023.
    """
    _, past = series_shape(info, "dlinear")
    shape = forecast_shape(info, "model dlinear")
    return window_normed(DLinear(past, shape=shape, kernel=kernel, dropout=dropout), info, kind=window_norm)
