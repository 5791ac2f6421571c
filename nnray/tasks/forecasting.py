"""Forecasting: the next steps of series, always measured beside the naive seasonal forecast.

Shapes: B examples of a batch, C channels, T steps of the past, D target channels (the first D of the C), H
steps to forecast. Errors are in standard units, those of a channel's deviation in training, so that channels
can be compared; beside them, as ``_units``, in the units of the data. Each example counts by its mean over
channels and steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from nnray.errors import ConfigError, DataError, Problem
from nnray.fields import Positive, PositiveInt
from nnray.metrics import Array, MetricSums
from nnray.tasks.exhibit import Curves
from nnray.tasks.forecast_curves import channel_names, curves_by_step, shown_windows, window_curves

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

_NAMES = ("mse", "mae", "mse_units", "mae_units", "naive_mse", "naive_mae")
Loss = Literal["mse", "mae", "huber"]


def forecasting(
    info: DataInfo, *, season: PositiveInt = 1, loss: Loss = "mse", delta: Positive = 1.0
) -> Forecasting:
    """Forecast series; mean squared and absolute error beside those of the naive seasonal forecast.

    Args:
        season: Steps of a season, after which the naive forecast repeats what was; 1 repeats the last value.
        loss: What is learnt by: mean squared error (mse), mean absolute error (mae), or squared for small and
            absolute for large errors (huber); in standard units.
        delta: Where errors begin to be large for the Huber loss, in standard units; of no effect on others.
    """
    given, wanted = info.input_shape, info.target_shape
    if info.targets != "numbers" or len(given) != 2 or len(wanted) != 2 or wanted[0] > given[0]:
        raise DataError(
            f"task forecasting takes series [channels, time] and goes on with their first channels; data set "
            f"{info.name} has inputs of shape {list(given)} and {info.targets} of shape {list(wanted)}"
        )
    if season > given[1]:
        message = (
            f"got {season} for windows of {given[1]} steps; allowed: 1 to {given[1]}, or lengthen data.past"
        )
        raise ConfigError("experiment", [Problem("task.season", message)])
    std, names = info.target_std or (1.0,) * wanted[0], channel_names(info.features, wanted[0])
    return Forecasting(std=std, season=season, kind=loss, delta=delta, channels=names)


@dataclass(frozen=True, slots=True)
class Forecasting:
    """The task of telling the next steps of series; made by `forecasting`.

    Args:
        std: Standard unit of each target channel.
        season: Steps of a season.
        kind: What is learnt by.
        delta: Of the Huber loss.
        channels: Names of target channels.
    """

    std: tuple[float, ...]
    season: int = 1
    kind: Loss = "mse"
    delta: float = 1.0
    channels: tuple[str, ...] = ()
    needs_inputs = True

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss in standard units.

        Shape:
            outputs: ``[B, D, H]``, in the units of the data.
        """
        return self.example_losses(outputs, targets)[0].mean()

    def example_losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """The loss of each example, which all weigh the same.

        Shape:
            outputs: ``[B, D, H]``.
        """
        error_BDH = (outputs - targets) / self._unit(outputs)
        if self.kind == "huber":
            zero = torch.zeros_like(error_BDH)
            return huber_loss(error_BDH, zero, reduction="none", delta=self.delta).flatten(1).mean(1), None
        return (error_BDH.square() if self.kind == "mse" else error_BDH.abs()).flatten(1).mean(1), None

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The loss alone."""
        return {"loss": loss.detach() * len(targets)}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor, *, inputs: Tensor) -> dict[str, Tensor]:
        """Loss, squared and absolute errors, and those of the naive seasonal forecast.

        Shape:
            inputs: ``[B, C, T]``, in the units of the data.
        """
        wide = torch.float32 if outputs.device.type == "mps" else torch.float64
        unit = self._unit(targets).to(wide)
        error_BDH = outputs.to(wide) - targets.to(wide)
        naive_BDH = (naive_seasonal(inputs, targets, season=self.season) - targets).to(wide) / unit
        standard_BDH = error_BDH / unit
        parts = (standard_BDH, error_BDH, naive_BDH)
        values = [value for part in parts for value in (part.square(), part.abs())]
        sums = {name: value.mean((1, 2)).sum() for name, value in zip(_NAMES, values, strict=True)}
        return {"loss": self.example_losses(outputs.to(wide), targets.to(wide))[0].sum(), **sums}

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """Loss, ``mse`` and ``mae`` in standard units and in the data's, the naive forecast's, and ``mase``.

        ``mase`` is the mean absolute error over that of the naive seasonal forecast for the same windows:
        below 1 is better than naive. Where the naive one makes no error, it is the plain mean absolute error.

        Source:
            Hyndman and Koehler, "Another look at measures of forecast accuracy", 2006; they divide by the
            naive error of one step in training, here it is that of the same steps of the same windows.
        """
        metrics = {name: sums.mean(name) for name in ("loss", *_NAMES)}
        return {**metrics, "mase": metrics["mae"] / (metrics["naive_mae"] or 1.0)}

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The loss."""
        return {"loss": sums.mean("loss")}

    def confusion(self, sums: MetricSums) -> Array | None:
        """None: there are no classes."""
        return None

    @torch.no_grad()
    def exhibits(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int) -> dict[str, Curves]:
        """Forecasts of a few windows against what came and the naive forecast, and errors by step.

        Args:
            model: Gives forecasts.
            inputs: Windows of which a few are drawn; each shows another channel, as far as there are some.
            targets: What came after.
            seed: Of the draw.
        """
        outputs, naive = model(inputs), naive_seasonal(inputs, targets, season=self.season)
        shown = {
            f"forecast_{number}": window_curves(
                outputs[at, channel],
                targets[at, channel],
                past=inputs[at, channel],
                naive=naive[at, channel],
                season=self.season,
                channel=self.channels[channel],
            )
            for number, at in enumerate(shown_windows(len(inputs), seed=seed), start=1)
            for channel in [(number - 1) % len(self.channels)]
        }
        by_step = curves_by_step(outputs, targets, naive=naive, unit=self._unit(targets))
        return {**shown, "error_by_step": by_step}

    def _unit(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.std)[:, None]


def naive_seasonal(inputs: Tensor, targets: Tensor, *, season: int) -> Tensor:
    """The forecast that repeats the last season; with a season of 1, the last value.

    Args:
        inputs: The past.
        targets: For the shape of the forecast.
        season: Steps.

    Shape:
        inputs: ``[B, C, T]``.
        targets: ``[B, D, H]``, and so the result.
    """
    steps = torch.arange(targets.shape[2], device=inputs.device) % season
    return inputs[:, : targets.shape[1], inputs.shape[2] - season + steps]
