"""Detection: the objects of an image, each with its class and box, learnt by the model's own losses.

A detector has several losses, of its own kind, which are known inside of it alone: in training the task hands
the targets in and adds the losses up. What is measured doesn't depend on the detector: average precision, and
the LRP error as the loss of evaluation, which is 0 where all is right and 1 where nothing is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from nnray.errors import ConfigError, DataError, Problem
from nnray.fields import PositiveInt
from nnray.metrics import MetricSums
from nnray.tasks.average_precision import average_precision, lrp_error, matched, score_bins
from nnray.tasks.confusion import NAMED_CLASSES, metric_names
from nnray.tasks.exhibit import Exhibit
from nnray.tasks.overlays import boxed, legend, rows, shown_examples

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

_SURE = 0.5
"""From which score on a box is shown."""


def detection(
    info: DataInfo, *, iou: Annotated[float, Field(gt=0, lt=1)] = 0.5, score_bins: PositiveInt = 1000
) -> Detection:
    """A detector's own losses, with mean average precision.

    Args:
        iou: From which overlap on a box is right: intersection over union.
        score_bins: Detections whose scores share a bin count as equally sure.

    Raises:
        DataError: The data have no boxes.
    """
    if info.targets != "boxes":
        raise DataError(
            f"task detection needs boxes, data set {info.name} has targets of kind {info.targets}: use a "
            "data set with boxes, such as shapes with data.kind=boxes"
        )
    return Detection(info.classes, iou=iou, num_bins=score_bins)


@dataclass(frozen=True, slots=True)
class Detection:
    """The task of finding objects; made by `detection`.

    Its metrics are named by the overlap: ``map50`` is the mean average precision at an IoU of 0.5.
    """

    classes: tuple[str, ...]
    iou: float = 0.5
    num_bins: int = 1000

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """No loss is told by boxes alone.

        Raises:
            ConfigError: Always: what asks for it can't work with detectors.
        """
        problem = "detection is learnt by the model's own losses: use training.loss plain, or another task"
        raise ConfigError("experiment", [Problem("task", problem)])

    def loss_of(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The model's losses, and their sum.

        Shape:
            targets: ``[B, T, 5]``: class and corners, class -1 where there are fewer than T.

        Raises:
            ConfigError: The model has no place for targets.
        """
        detector = _detector(model)
        detector.expected = targets
        try:
            losses: Tensor = model(inputs)
        finally:
            detector.expected = None
        return losses, losses.sum()

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The loss: boxes are not told in training."""
        return {"loss": loss.detach() * len(targets)}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Right and wrong detections by class and score, and targets by class.

        Shape:
            outputs: ``[B, M, 6]``: class, corners and score, class -1 where there are fewer than M.
            targets: ``[B, T, 5]``.
        """
        outputs, count = outputs.float(), len(self.classes)
        given = matched(outputs, targets, threshold=self.iou)
        right, wrong, iou = score_bins(outputs, given, num_classes=count, num_bins=self.num_bins)
        labels = targets[..., 0]
        wanted = labels[labels >= 0].long().bincount(minlength=count)
        return {"right": right, "wrong": wrong, "iou": iou, "targets": wanted}

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """``map50``, ``ap50_class_<name>``, and as ``loss`` the mean optimal LRP error."""
        right, wrong, iou, targets = (sums.sums[name] for name in ("right", "wrong", "iou", "targets"))
        by_class = average_precision(right, wrong, targets=targets)
        errors = lrp_error(right, wrong, iou=iou, targets=targets, threshold=self.iou)
        occurs, percent = targets > 0, round(100 * self.iou)
        found = occurs.any()
        metrics = {
            "loss": float(errors[occurs].mean()) if found else 0.0,
            f"map{percent}": float(by_class[occurs].mean()) if found else 0.0,
        }
        if len(self.classes) <= NAMED_CLASSES:
            named = zip(metric_names(self.classes), by_class.tolist(), strict=True)
            metrics |= {f"ap{percent}_class_{name}": value for name, value in named}
        return metrics

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The sum of the model's losses."""
        return {"loss": sums.mean("loss")}

    def exhibits(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int) -> dict[str, Exhibit]:
        """``boxes``: images with the boxes that they have, and with the surer ones that the model gives.

        Args:
            model: Gives boxes.
            inputs: Of which a few are drawn.
            targets: Their boxes.
            seed: Of the draw.
        """
        chosen = shown_examples(len(inputs), seed=seed).to(inputs.device)
        images, wanted = inputs[chosen], targets[chosen]
        found = model(images)
        sure = torch.where(found[..., 5:] >= _SURE, found[..., :1], -1)
        pictures = (boxed(images, boxes) for boxes in (wanted, torch.cat([sure, found[..., 1:5]], -1)))
        text = f"From above: the boxes that there are, those that the model gives a score of {_SURE} or more."
        return {"boxes": rows(*pictures), "boxes_legend": legend(text, self.classes)}

    def confusion(self, sums: MetricSums) -> None:
        """None: a detection needs not belong to any target."""
        return


class _Detector(Protocol):
    expected: Tensor | None


def _detector(model: nn.Module) -> _Detector:
    found = [module for module in model.modules() if hasattr(module, "expected")]
    if len(found) != 1:
        problem = (
            f"task detection needs a model with one place for the boxes to learn ({type(model).__name__} has "
            f"{len(found)}): use model detector, or a module with an attribute expected"
        )
        raise ConfigError("experiment", [Problem("model", problem)])
    return cast(_Detector, found[0])
