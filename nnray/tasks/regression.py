"""Regression: numbers for each example, such as a price, learnt by their errors in the data's own units.

The loss that is reported for validation and test is the mean squared error whatever is learnt by, so that
runs which differ in it can be compared.

Suffixes: B examples. Outputs and targets are ``[B, ...] float32`` of one shape.

Source: the coefficient of determination as by scikit-learn, 1 - SSE / SST; of several numbers for each
    example their mean, every number by itself ("uniform average").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.fields import Positive
from nnray.metrics import MetricSums

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo


def regression(
    info: DataInfo, *, criterion: Literal["squared", "absolute", "huber"] = "squared", delta: Positive = 1.0
) -> Regression:
    """Numbers learnt by squared, absolute or Huber's error; mse, rmse, mae and r2 are reported.

    Args:
        criterion: What is learnt by, in deviations of targets: squared errors; absolute ones, by which few
            far-off answers count less; or Huber's, which are squared up to delta and absolute beyond.
        delta: Where Huber's error turns, in standard deviations of the training targets.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    if info.targets != "numbers":
        message = (
            f"regression needs numbers as answers; {info.name} has {info.targets}: take classification, or "
            "say that answers are numbers where the data set has a key for it (table: data.target: number)"
        )
        raise ConfigError("experiment", [Problem("task.name", message)])
    scale = info.target_std or (1.0,)
    return Regression(criterion, delta, info.target_mean or (0.0,), scale)


@dataclass(frozen=True, slots=True)
class Regression:
    """The task of answering with numbers; made by `regression`."""

    criterion: Literal["squared", "absolute", "huber"] = "squared"
    delta: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean error, in standard deviations of the training targets.

        Shape:
            outputs: As targets, ``[B, ...]``.
        """
        return self.example_losses(outputs, targets)[0].mean()

    def example_losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """The mean error of each example; all weigh the same."""
        errors = (outputs - targets) / _by_channel(self.std, targets)
        if self.criterion == "squared":
            losses = errors.square()
        else:
            size = errors.abs()
            inner = errors.square() / 2
            is_small = size <= self.delta
            huber = torch.where(is_small, inner, self.delta * (size - self.delta / 2))
            losses = size if self.criterion == "absolute" else huber
        return _by_example(losses).mean(1), None

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The squared error, as in evaluation."""
        squared = _by_example((outputs.detach() - targets).square()).mean(1)
        return {"loss": squared.sum()}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Squared and absolute errors, and the targets' sums and squares, by number of an example.

        Targets count from the training targets' mean, so that no digits are lost where they lie far from 0.
        """
        wide = torch.float32 if outputs.device.type == "mps" else torch.float64
        plain, wanted = outputs.to(wide), targets.to(wide)
        error = _by_example(plain - wanted)
        moved = _by_example(wanted - _by_channel(self.mean, wanted))
        return {
            "squared": error.square().sum(0),
            "absolute": error.abs().sum(0),
            "target": moved.sum(0),
            "target_squared": moved.square().sum(0),
        }

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """Loss and ``mse``, which are the same, ``rmse``, ``mae`` and ``r2``."""
        found = {name: np.atleast_1d(value) for name, value in sums.sums.items()}
        squared = found["squared"]
        mse = float(squared.mean()) / sums.count
        spread = found["target_squared"] - found["target"] ** 2 / sums.count
        return {
            "loss": mse,
            "mse": mse,
            "rmse": mse**0.5,
            "mae": float(found["absolute"].mean()) / sums.count,
            "r2": float(np.mean([_determination(*pair) for pair in zip(squared, spread, strict=True)])),
        }

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The loss."""
        return {"loss": sums.mean("loss")}

    def confusion(self, sums: MetricSums) -> None:
        """There are no classes."""
        return


def _by_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Numbers by channel, so that they broadcast to targets."""
    found = like.new_tensor(values)
    return found[0] if len(values) == 1 else found.reshape(-1, *[1] * (like.ndim - 2))


def _by_example(values: Tensor) -> Tensor:
    """A row of numbers for each example, of which there may be none."""
    return values.flatten(1) if values.ndim > 1 else values[:, None]


def _determination(squared: float, spread: float) -> float:
    """Share of the targets' variance that is told; where they don't vary 1 if all is right, else 0."""
    if spread <= 0:
        return 1.0 if squared == 0 else 0.0
    return float(1 - squared / spread)
