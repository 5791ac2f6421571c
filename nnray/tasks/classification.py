"""Classification: one class of K for each example, learnt by cross-entropy.

Shapes: B examples of a batch, K classes, M bins of confidence. Targets are ``[B] int64``, or
``[B, K]`` probabilities where augmentation mixes examples; hits count against the likeliest class.

Label smoothing, class weights and focal loss belong to learning: the loss reported for validation and test
is the plain cross-entropy, so that runs which differ in them can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nnray.errors import DataError
from nnray.fields import NonNegative, Positive, PositiveInt, Probability
from nnray.metrics import Array, MetricSums
from nnray.tasks.class_weights import weights_of
from nnray.tasks.confusion import calibration_error, confusion_metrics
from nnray.tasks.focal import focal_losses
from nnray.tasks.scores import score_counts, score_metrics

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

# What to take for targets of each other kind.
TASKS_OF = {
    "numbers": "regression, or forecasting for series",
    "classes": "segmentation for masks, language for texts, or ranking",
    "boxes": "detection",
}


def classification(
    info: DataInfo,
    *,
    label_smoothing: Probability = 0.0,
    class_weights: Sequence[Positive] | Literal["balanced"] | None = None,
    top_k: Sequence[PositiveInt] = (5,),
    calibration_bins: PositiveInt = 15,
    focal_gamma: NonNegative = 0.0,
    score_bins: PositiveInt = 2048,
) -> Classification:
    """Cross-entropy over K classes, with accuracy, precision, recall, F1 and calibration.

    Of two classes also AUROC, AUPRC and KS of the second.

    Args:
        label_smoothing: Share of a target that is spread over all classes, in training only.
        class_weights: Weight of each class in the training loss, by label; balanced: such that all classes
            weigh as much together, by how many training examples they have; all alike if None.
        top_k: Counts a hit where the target is among the k likeliest; k of K or more is left out.
        calibration_bins: Bins of confidence for the calibration error.
        focal_gamma: Power by which examples that are told well weigh less in the training loss; 0 for none.
        score_bins: Bins of scores for AUROC, AUPRC and KS; examples in one bin count as tied.

    Raises:
        ConfigError: Another number of weights than of classes, or nobody knows how many examples each has.
        DataError: Examples have no class each.
    """
    if info.targets != "class":
        raise DataError(
            f"task classification needs one class for each example, data set {info.name} has targets of kind "
            f"{info.targets}: use task {TASKS_OF[info.targets]}"
        )
    return Classification(
        classes=info.classes,
        label_smoothing=label_smoothing,
        class_weights=None if class_weights is None else weights_of(class_weights, info),
        top_k=tuple(k for k in sorted(set(top_k)) if k < info.num_classes),
        calibration_bins=calibration_bins,
        focal_gamma=focal_gamma,
        score_bins=score_bins,
    )


@dataclass(frozen=True, slots=True)
class Classification:
    """The task of telling K classes apart; made by `classification`."""

    classes: tuple[str, ...]
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    top_k: tuple[int, ...] = ()
    calibration_bins: int = 15
    focal_gamma: float = 0.0
    score_bins: int = 2048

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, smoothed and weighted as asked.

        Shape:
            outputs: ``[B, K]`` logits.
        """
        if self.focal_gamma:
            losses_B, weights_B = self.example_losses(outputs, targets)
            return losses_B.sum() / (len(losses_B) if weights_B is None else weights_B.sum())
        weight = None if self.class_weights is None else outputs.new_tensor(self.class_weights)
        return cross_entropy(outputs, targets, weight, label_smoothing=self.label_smoothing)

    def example_losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """What ``loss`` is the weighted mean of: each example's cross-entropy, and what it weighs.

        Shape:
            outputs: ``[B, K]`` logits.
        """
        weight = None if self.class_weights is None else outputs.new_tensor(self.class_weights)
        smoothing = self.label_smoothing
        if self.focal_gamma:
            losses_B = focal_losses(
                outputs,
                targets,
                gamma=self.focal_gamma,
                class_weights=self.class_weights,
                label_smoothing=smoothing,
            )
        else:
            losses_B = cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=smoothing)
        # Torch divides by the weights of the targets, but where targets are probabilities by their number.
        return losses_B, weight[targets] if weight is not None and targets.ndim == 1 else None

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """Loss and hits: three small operations."""
        hits = outputs.argmax(1) == labels(targets)
        return {"loss": loss.detach() * len(targets), "correct": hits.sum()}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Loss, hits, hits within k, the confusion matrix, and the bins of confidence and score."""
        logits_BK = outputs.float()
        labels_B = labels(targets)
        losses_B = cross_entropy(logits_BK, targets, reduction="none")
        predicted_B = logits_BK.argmax(1)
        hits_B = predicted_B == labels_B
        sums = {"loss": exact_sum(losses_B), "correct": hits_B.sum()}
        if self.top_k:
            ranks_B = target_ranks(logits_BK, labels_B)
            sums |= {f"top{k}": (ranks_B < k).sum() for k in self.top_k}
        sums["confusion"] = confusion_counts(predicted_B, labels_B, num_classes=len(self.classes))
        sums["calibration"] = confidence_bins(logits_BK, hits_B, num_bins=self.calibration_bins)
        if len(self.classes) == 2:
            sums["scores"] = score_counts(logits_BK, labels_B, num_bins=self.score_bins)
        return sums

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """Loss, accuracies, precision, recall, F1, ``ece``, the calibration error, and those of scores."""
        metrics = self.summarize_train(sums)
        metrics |= {f"top{k}_accuracy": sums.mean(f"top{k}") for k in self.top_k}
        metrics |= confusion_metrics(sums.sums["confusion"], self.classes)
        metrics["ece"] = calibration_error(sums.sums["calibration"])
        if "scores" in sums.sums:
            metrics |= score_metrics(sums.sums["scores"])
        return metrics

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """Loss and accuracy."""
        return {"loss": sums.mean("loss"), "accuracy": sums.mean("correct")}

    def confusion(self, sums: MetricSums) -> Array:
        """Counts by target (row) and prediction (column)."""
        return sums.sums["confusion"]


def labels(targets: Tensor) -> Tensor:
    """The label of each target; of a mixed one, its likeliest class."""
    return targets if targets.ndim == 1 else targets.argmax(1)


def exact_sum(values: Tensor) -> Tensor:
    """The sum in float64, where the device has it."""
    return values.sum() if values.device.type == "mps" else values.sum(dtype=torch.float64)


def target_ranks(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """How many classes come before the target; of equal logits the lower label comes first.

    NaN comes before all, so that a broken model has no hits.
    """
    target_B1 = logits_BK.gather(1, labels_B[:, None])
    earlier = torch.arange(logits_BK.shape[1], device=logits_BK.device) < labels_B[:, None]
    return (~(logits_BK <= target_B1) | ((logits_BK == target_B1) & earlier)).sum(1)


def confusion_counts(predicted_B: Tensor, labels_B: Tensor, *, num_classes: int) -> Tensor:
    """The confusion matrix ``[K, K]``, int64; unlike ``bincount`` it doesn't wait for a GPU."""
    counts = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=labels_B.device)
    cells = labels_B * num_classes + predicted_B
    return counts.index_add_(0, cells, torch.ones_like(cells)).view(num_classes, num_classes)


def confidence_bins(logits_BK: Tensor, hits_B: Tensor, *, num_bins: int) -> Tensor:
    """Examples, hits and summed confidence by bin of confidence, ``[3, M]``.

    Source:
        Guo et al., 2017: bin m holds the confidences in ((m - 1) / M, m / M].
    """
    wide = torch.float32 if logits_BK.device.type == "mps" else torch.float64
    confidence_B = logits_BK.softmax(1).amax(1)
    edges = torch.linspace(0, 1, num_bins + 1, device=logits_BK.device)[1:-1]
    bins_B = torch.bucketize(confidence_B, edges)
    rows_3B = torch.stack([torch.ones_like(confidence_B), hits_B.float(), confidence_B]).to(wide)
    return torch.zeros(3, num_bins, dtype=wide, device=logits_BK.device).index_add_(1, bins_B, rows_3B)
