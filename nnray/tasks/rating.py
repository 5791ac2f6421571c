"""Rating: one number for each example, such as the stars of a film, learnt by squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.fields import Finite
from nnray.metrics import MetricSums

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo


def rating(info: DataInfo, *, lowest: Finite | None = None, highest: Finite | None = None) -> Rating:
    """Mean squared error of one number, with its root (rmse) and the mean absolute error (mae).

    Args:
        lowest: Answers below it are taken for it where errors are measured, not in training; null for none.
        highest: Likewise, above it.
    """
    problems = []
    if info.output_shape != () or info.targets != "numbers":
        message = f"rating needs one number for each example; {info.name} has {info.targets}"
        problems.append(Problem("task.name", f"{message} of shape {list(info.target_shape)}"))
    if lowest is not None and highest is not None and lowest >= highest:
        problems.append(Problem("task.lowest", f"got {lowest:g}; allowed: below task.highest, {highest:g}"))
    if problems:
        raise ConfigError("experiment", problems)
    return Rating(lowest, highest)


@dataclass(frozen=True, slots=True)
class Rating:
    """The task of answering with a number; made by `rating`."""

    lowest: float | None = None
    highest: float | None = None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean squared error.

        Shape:
            outputs: ``[B]``.
        """
        return (outputs - targets).square().mean()

    def example_losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        """The squared error of each example; all weigh the same."""
        return (outputs - targets).square(), None

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The loss."""
        return {"loss": loss.detach() * len(targets)}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The loss, and squared and absolute errors of answers within the bounds."""
        wide = torch.float32 if outputs.device.type == "mps" else torch.float64
        plain, wanted = outputs.to(wide), targets.to(wide)
        error = self.bounded(plain) - wanted
        loss = (plain - wanted).square().sum()
        return {"loss": loss, "squared": error.square().sum(), "absolute": error.abs().sum()}

    def bounded(self, outputs: Tensor) -> Tensor:
        """Answers within the bounds."""
        if self.lowest is None and self.highest is None:
            return outputs
        return outputs.clamp(self.lowest, self.highest)

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """Loss, ``rmse`` and ``mae``."""
        root = sums.mean("squared") ** 0.5
        return {**self.summarize_train(sums), "rmse": root, "mae": sums.mean("absolute")}

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The loss."""
        return {"loss": sums.mean("loss")}

    def confusion(self, sums: MetricSums) -> None:
        """There are no classes."""
        return
