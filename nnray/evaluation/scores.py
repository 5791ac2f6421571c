"""The metrics of a classifier from its predictions; each equals scikit-learn's.

All are read off the counts of targets and predictions and off the ranks of ratings; scikit-learn is the
oracle of the tests, not used here: to import it and torchmetrics took longer than all the rest.

A macro average is over the classes that occur: for precision, recall and F1 among targets or predictions,
for areas under curves among targets, and not all of them one class. What is undefined is NaN, never 0;
precision, recall and F1 of nothing are 0, as there.

Shapes: N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.evaluation.predictions import Predictions
from nnray.evaluation.ranking import auroc, average_precision, rank
from nnray.tasks.confusion import ClassCounts, class_counts

_TOP_K = (5,)
Areas = Mapping[str, Tensor]
"""``auroc`` and ``average_precision``, each ``[K]``."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one class is told from the rest; NaN where that is undefined.

    Args:
        name: Of the class.
        support: Examples of it.
        predictions: Examples put into it.
        precision: Share of those put into it that belong there.
        recall: Share of its examples that are found.
        f1: Harmonic mean of the two.
        auroc: Probability that one of its examples is rated above one of the rest.
        average_precision: Area under its curve of precision over recall, by steps.
    """

    name: str
    support: int
    predictions: int
    precision: float
    recall: float
    f1: float
    auroc: float
    average_precision: float


def score(
    predictions: Predictions, *, top_k: Sequence[int] = _TOP_K, areas: Areas | None = None
) -> dict[str, float]:
    """All metrics that are one number.

    Args:
        predictions: What is measured.
        top_k: Counts a hit where the target is among the k likeliest; k of K or more is left out.
        areas: Where a caller has them already.

    Source:
        Brier, 1950: summed over classes; of two classes it is the squared error of the second's probability,
        as in scikit-learn.
    """
    confusion = confusion_matrix(predictions)
    found = _counted(class_counts(confusion.numpy())) | _agreement(confusion)
    for name, by_class in (areas or areas_by_class(predictions)).items():
        found[name] = _area(by_class)
    for k in sorted({k for k in top_k if 1 < k < predictions.num_classes}):
        found[f"top{k}_accuracy"] = _top_k(predictions, k)
    found["log_loss"] = float(predictions.losses.mean())
    found["brier"] = _brier(predictions)
    return found


def score_classes(
    predictions: Predictions, classes: Sequence[str], *, areas: Areas | None = None
) -> list[ClassScores]:
    """The metrics of each class, by label.

    Args:
        predictions: What is measured.
        classes: Names, by label.
        areas: Where a caller has them already.
    """
    counts = class_counts(confusion_matrix(predictions).numpy())
    areas = areas or areas_by_class(predictions)
    return [
        ClassScores(
            name=name,
            support=int(counts.targets[label]),
            predictions=int(counts.predictions[label]),
            precision=float(counts.precision[label]),
            recall=float(counts.recall[label]),
            f1=float(counts.f1[label]),
            auroc=float(areas["auroc"][label]),
            average_precision=float(areas["average_precision"][label]),
        )
        for label, name in enumerate(classes)
    ]


def confusion_matrix(predictions: Predictions) -> Tensor:
    """Counts by target (row) and prediction (column), ``[K, K] int64``."""
    count = predictions.num_classes
    cells = torch.bincount(predictions.targets * count + predictions.predicted, minlength=count * count)
    return cells.view(count, count)


def has_both(predictions: Predictions) -> Tensor:
    """The classes that some examples belong to and some don't, ``[K] bool``: others have no curves."""
    support_K = torch.bincount(predictions.targets, minlength=predictions.num_classes)
    return (support_K > 0) & (support_K < len(predictions))


def areas_by_class(predictions: Predictions) -> Areas:
    """Under both curves, one class against the rest; NaN where a class has no examples or all."""
    probabilities_KN, targets = predictions.probabilities.T, predictions.targets
    found = {
        name: torch.full((predictions.num_classes,), math.nan, dtype=torch.float64)
        for name in ("auroc", "average_precision")
    }
    ones_N1 = torch.ones(len(predictions), 1, dtype=torch.float64)
    for label in has_both(predictions).nonzero()[:, 0].tolist():
        tally = rank(probabilities_KN[label], targets == label).tally(ones_N1)
        found["auroc"][label] = auroc(*tally)[0]
        found["average_precision"][label] = average_precision(*tally)[0]
    return found


def _counted(counts: ClassCounts) -> dict[str, float]:
    pooled, examples = counts.pooled(), counts.targets.sum()
    found = {
        "accuracy": float(pooled.recall[0]),
        "balanced_accuracy": float(counts.recall[counts.targets > 0].mean()),
    }
    for name in ("precision", "recall", "f1"):
        by_class = getattr(counts, name)
        found[f"{name}_macro"] = counts.macro(by_class)
        found[f"{name}_micro"] = float(getattr(pooled, name)[0])
        found[f"{name}_weighted"] = float((by_class * counts.targets).sum() / examples)
    return found


def _agreement(confusion: Tensor) -> dict[str, float]:
    """Matthews' correlation, 0 where one side is all of a class; Cohen's kappa, NaN where both are."""
    counts = confusion.double()
    targets, predicted, hits, examples = counts.sum(1), counts.sum(0), counts.trace(), counts.sum()
    together = float(hits * examples - targets @ predicted)
    spread = float((examples**2 - targets @ targets) * (examples**2 - predicted @ predicted))
    by_chance = float(examples**2 - targets @ predicted)
    return {
        "mcc": together / math.sqrt(spread) if spread else 0.0,
        "cohen_kappa": together / by_chance if by_chance else math.nan,
    }


def _top_k(predictions: Predictions, k: int) -> float:
    """The share of targets among the k likeliest classes; of equal ones the higher label goes first."""
    rated_NK, targets_N1 = predictions.probabilities, predictions.targets[:, None]
    of_target_N1 = rated_NK.gather(1, targets_N1)
    higher_NK = torch.arange(predictions.num_classes) > targets_N1
    ahead_NK = (rated_NK > of_target_N1) | ((rated_NK == of_target_N1) & higher_NK)
    return float((ahead_NK.sum(1) < k).double().mean())


def _area(by_class_K: Tensor) -> float:
    """Of two classes the second's; of more the mean over those where it is defined."""
    return float(by_class_K[1] if len(by_class_K) == 2 else by_class_K.nanmean())


def _brier(predictions: Predictions) -> float:
    probabilities_NK = predictions.probabilities
    hot_NK = torch.nn.functional.one_hot(predictions.targets, predictions.num_classes).double()
    summed = float((probabilities_NK - hot_NK).square().sum(1).mean())
    return summed / 2 if predictions.num_classes == 2 else summed
