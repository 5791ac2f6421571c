"""Segmentation: a class of K for each place, learnt by cross-entropy over the places that count.

Shapes: B examples of a batch, K classes, P places of an example in as many dimensions as it has. Sums go over
places, not examples, so that an example with few places that count weighs little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nnray.data.splits import NO_CLASS
from nnray.errors import DataError
from nnray.fields import Positive
from nnray.metrics import Array, MetricSums
from nnray.tasks.class_weights import weights_of
from nnray.tasks.classification import confusion_counts, exact_sum
from nnray.tasks.confusion import NAMED_CLASSES, class_counts, metric_names, quotient
from nnray.tasks.exhibit import Exhibit
from nnray.tasks.overlays import in_color, legend, masked, rows, shown_examples

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo


def segmentation(info: DataInfo, *, class_weights: Sequence[Positive] | None = None) -> Segmentation:
    """Cross-entropy over places, with pixel accuracy and mean IoU.

    Args:
        class_weights: Weight of each class in the training loss, by label; all alike if None.

    Raises:
        ConfigError: Another number of weights than of classes.
        DataError: The data have no class for each place.
    """
    if info.targets != "classes":
        raise DataError(
            f"task segmentation needs a class for each place, data set {info.name} has targets of kind "
            f"{info.targets}: use a data set with masks, such as shapes"
        )
    weights = None if class_weights is None else weights_of(class_weights, info)
    return Segmentation(info.classes, weights)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The task of telling K classes apart at each place; made by `segmentation`."""

    classes: tuple[str, ...]
    class_weights: tuple[float, ...] | None = None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy over the places that count, weighted as asked; 0 where none does.

        Shape:
            outputs: ``[B, K, ...]`` logits.
            targets: ``[B, ...]``.
        """
        weight = None if self.class_weights is None else outputs.new_tensor(self.class_weights)
        losses = cross_entropy(outputs, targets, weight, ignore_index=NO_CLASS, reduction="sum")
        counts = targets != NO_CLASS
        if weight is None:
            return losses / counts.sum().clamp(min=1)
        weights = torch.where(counts, weight[targets.clamp(min=0)], 0.0)
        return losses / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """Loss and hits, over the places that count."""
        places = (targets != NO_CLASS).sum()
        hits = (outputs.argmax(1) == targets).sum()
        return {"loss": loss.detach() * places, "correct": hits, "places": places}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Loss, hits and the confusion matrix, over the places that count."""
        logits = outputs.float()
        counts = targets != NO_CLASS
        losses = cross_entropy(logits, targets, ignore_index=NO_CLASS, reduction="none")
        predicted, wanted = logits.argmax(1)[counts], targets[counts]
        return {
            "loss": exact_sum(losses),
            "correct": (predicted == wanted).sum(),
            "places": counts.sum(),
            "confusion": confusion_counts(predicted, wanted, num_classes=len(self.classes)),
        }

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """Loss, ``accuracy`` over pixels, ``mean_iou``, and ``iou_class_<name>``."""
        by_class, occurs = intersection_over_union(sums.sums["confusion"])
        metrics = self.summarize_train(sums)
        metrics["mean_iou"] = float(by_class[occurs].mean()) if occurs.any() else 0.0
        if len(self.classes) <= NAMED_CLASSES:
            named = zip(metric_names(self.classes), by_class.tolist(), strict=True)
            metrics |= {f"iou_class_{name}": value for name, value in named}
        return metrics

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """Loss and accuracy over pixels; 0 where no place counts."""
        places = max(float(sums.sums["places"]), 1.0)
        return {
            "loss": float(sums.sums["loss"]) / places,
            "accuracy": float(sums.sums["correct"]) / places,
        }

    def exhibits(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int) -> dict[str, Exhibit]:
        """``masks``: images, what they show and what the model says they show; nothing of what is no image.

        Args:
            model: Gives logits for each place.
            inputs: Of which a few are drawn.
            targets: Their masks.
            seed: Of the draw.
        """
        if inputs.ndim != 4 or targets.shape[1:] != inputs.shape[2:]:
            return {}
        chosen = shown_examples(len(inputs), seed=seed).to(inputs.device)
        images, wanted = inputs[chosen], targets[chosen]
        said = model(images).argmax(1)
        both = (masked(images, mask, classes=self.classes) for mask in (wanted, said))
        text = "From above: the image, the mask that it has, the mask that the model gives."
        return {
            "masks": rows(in_color(images), *both),
            "masks_legend": legend(text, self.classes),
        }

    def confusion(self, sums: MetricSums) -> Array:
        """Counts of places by target (row) and prediction (column)."""
        return sums.sums["confusion"]


def intersection_over_union(confusion: Array) -> tuple[Array, Array]:
    """The Jaccard index of each class, and whether it occurs among targets or predictions.

    Shape:
        confusion: ``[K, K]``, rows are targets and columns are predictions.

    Source:
        Everingham et al., The Pascal Visual Object Classes Challenge, 2015, section 4.3: true positives over
        true positives, false positives and false negatives, over all places of the set.
    """
    counts = class_counts(confusion)
    union = counts.targets + counts.predictions - counts.hits
    return quotient(counts.hits, union), np.asarray(union > 0)
