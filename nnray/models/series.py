"""What the models of time series share: shape, last layer, and forecasts relative to the level of a window.

Legend: B batch, C channels, T time steps of the past, D target channels (the first D of the C), H horizon.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError, Problem
from nnray.models.layers import vector_model

WindowNorm = Literal["none", "last", "standard"]
_EPSILON = 1e-5


def series_shape(info: DataInfo, model: str) -> tuple[int, int]:
    """The ``(C, T)`` of the data, for a model that takes series.

    Args:
        info: Of the data.
        model: Its name, for the message.

    Raises:
        DataError: The inputs are no series, or targets have no fixed shape.
    """
    shape = list(info.input_shape)
    if len(shape) != 2 or info.vocabulary:
        raise DataError(
            f"model {model} takes series [channels, time], the inputs of data set {info.name} have shape "
            f"{shape}: use model {vector_model(info)}"
        )
    if info.output_shape is None:
        raise DataError(
            f"model {model} gives classes or numbers, data set {info.name} asks for {info.targets}"
        )
    return shape[0], shape[1]


def forecast_shape(info: DataInfo, asker: str) -> tuple[int, int]:
    """The ``(D, H)`` of forecasts that go on with the first D channels of the inputs.

    Args:
        info: Of the data.
        asker: Who needs it, for the message.

    Raises:
        DataError: Targets are no such forecasts.
    """
    shape = info.target_shape
    if info.targets != "numbers" or len(shape) != 2 or shape[0] > info.input_shape[0]:
        raise DataError(
            f"{asker} forecasts the first channels of its inputs, numbers [channels, steps]; data set "
            f"{info.name} has {info.targets} of shape {list(shape)} for inputs of shape "
            f"{list(info.input_shape)}"
        )
    return shape[0], shape[1]


def output_layer(width: int, info: DataInfo) -> nn.Module:
    """From a vector of so many units to outputs as the targets ask for: logits, or numbers ``[B, D, H]``."""
    shape = info.output_shape
    assert shape is not None
    return nn.Sequential(nn.Linear(width, prod(shape)), nn.Unflatten(1, shape))


class WindowNormed(nn.Module):
    """A forecaster that sees each window relative to its own level, which is added to its forecast.

    Series that wander leave the range that was seen in training; changes since the last value stay in it.

    Args:
        net: Takes ``[B, C, T]``, gives ``[B, D, H]``.
        info: Statistics of inputs and targets, as `preprocess` puts them around this module.
        kind: ``last`` takes the last value off, ``standard`` the mean, and divides by the deviation.

    Source:
        Zeng et al., "Are transformers effective for time series forecasting?", 2023 (last, NLinear);
        Kim et al., "Reversible instance normalization", 2022 (standard, without the learnt scale).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, info: DataInfo, *, kind: WindowNorm) -> None:
        super().__init__()
        self.net, self.kind = net, kind
        count = info.target_shape[0]
        mean, std = _statistics(info.mean, info.std, count)
        target_mean, target_std = _statistics(info.target_mean, info.target_std, count)
        # Inputs and targets have statistics of their own: a level is carried from the ones to the others.
        self.register_buffer("scale", (std / target_std).float()[:, None])
        self.register_buffer("shift", ((mean - target_mean) / target_std).float()[:, None])

    def forward(self, inputs: Tensor) -> Tensor:
        """Forecasts in the targets' standard units, of inputs in their own."""
        level, spread = self._measure(inputs)
        outputs: Tensor = self.net((inputs - level) / spread)
        count = outputs.shape[1]
        outputs = outputs * spread[:, :count] + level[:, :count]
        return outputs * self.scale + self.shift

    def _measure(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "last":
            return inputs[..., -1:], torch.ones_like(inputs[..., -1:])
        variance = inputs.var(-1, correction=0, keepdim=True)
        return inputs.mean(-1, keepdim=True), (variance + _EPSILON).sqrt()


def window_normed(net: nn.Module, info: DataInfo, *, kind: WindowNorm) -> nn.Module:
    """The network itself for ``none``, else behind the level of each window.

    Raises:
        ConfigError: The data ask for no forecast of their channels.
    """
    if kind == "none":
        return net
    try:
        forecast_shape(info, f"window_norm {kind}")
    except DataError as error:
        raise ConfigError("experiment", [Problem("model.window_norm", f"{error}; allowed: none")]) from error
    return WindowNormed(net, info, kind=kind)


def _statistics(mean: tuple[float, ...], std: tuple[float, ...], count: int) -> tuple[Tensor, Tensor]:
    return (
        torch.tensor(mean[:count] or (0.0,) * count, dtype=torch.float64),
        torch.tensor(std[:count] or (1.0,) * count, dtype=torch.float64),
    )
