"""The metrics of a classifier from its predictions; each equals scikit-learn's.

torchmetrics computes what it computes as scikit-learn does. Four come from scikit-learn itself, as
torchmetrics has them otherwise: balanced accuracy (it counts classes that are predicted and never occur),
top-k accuracy (ties), Matthews' correlation and Cohen's kappa (where all is one class).

A macro average is over the classes that occur: for precision, recall and F1 among targets or predictions,
for areas under curves among targets, and not all of them one class. What is undefined is NaN, never 0;
precision, recall and F1 of nothing are 0, as there.

Shapes: N examples, K classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnray.evaluation.predictions import Predictions

_TOP_K = (5,)
Areas = Mapping[str, Tensor]
"""``auroc`` and ``average_precision``, each ``[K]``."""
_AVERAGES = ("macro", "micro", "weighted")


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
    found = _counted(predictions)
    for name, by_class in (areas or areas_by_class(predictions)).items():
        found[name] = _area(by_class)
    found |= _by_scikit_learn(predictions, top_k=top_k)
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
    predicted, targets, count = predictions.predicted, predictions.targets, predictions.num_classes
    columns: dict[str, Tensor] = {
        name: _torchmetrics(name, predicted, targets, num_classes=count, average="none")
        for name in ("precision", "recall", "f1_score")
    }
    columns |= areas or areas_by_class(predictions)
    return [
        ClassScores(
            name=name,
            support=int((targets == label).sum()),
            predictions=int((predicted == label).sum()),
            precision=float(columns["precision"][label]),
            recall=float(columns["recall"][label]),
            f1=float(columns["f1_score"][label]),
            auroc=float(columns["auroc"][label]),
            average_precision=float(columns["average_precision"][label]),
        )
        for label, name in enumerate(classes)
    ]


def confusion_matrix(predictions: Predictions) -> Tensor:
    """Counts by target (row) and prediction (column), ``[K, K] int64``."""
    return _torchmetrics(
        "confusion_matrix", predictions.predicted, predictions.targets, num_classes=predictions.num_classes
    )


def has_both(predictions: Predictions) -> Tensor:
    """The classes that some examples belong to and some don't, ``[K] bool``: others have no curves."""
    support_K = torch.bincount(predictions.targets, minlength=predictions.num_classes)
    return (support_K > 0) & (support_K < len(predictions))


def _counted(predictions: Predictions) -> dict[str, float]:
    predicted, targets = predictions.predicted, predictions.targets
    found = {"accuracy": float((predicted == targets).double().mean())}
    for name in ("precision", "recall", "f1"):
        for average in _AVERAGES:
            metric = "f1_score" if name == "f1" else name
            value = _torchmetrics(
                metric, predicted, targets, num_classes=predictions.num_classes, average=average
            )
            found[f"{name}_{average}"] = float(value)
    return found


def areas_by_class(predictions: Predictions) -> Areas:
    """Under both curves, one class against the rest; NaN where a class has no examples or all."""
    probabilities_NK, defined_K = predictions.probabilities, has_both(predictions)
    found = {}
    for name in ("auroc", "average_precision"):
        values_K = _torchmetrics(
            name,
            probabilities_NK,
            predictions.targets,
            num_classes=predictions.num_classes,
            average="none",
        ).double()
        found[name] = torch.where(defined_K, values_K, math.nan)
    return found


def _area(by_class_K: Tensor) -> float:
    """Of two classes the second's; of more the mean over those where it is defined."""
    return float(by_class_K[1] if len(by_class_K) == 2 else by_class_K.nanmean())


def _by_scikit_learn(predictions: Predictions, *, top_k: Sequence[int]) -> dict[str, float]:
    from sklearn import metrics

    targets, predicted = predictions.targets.numpy(), predictions.predicted.numpy()
    labels = list(range(predictions.num_classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that don't occur, and of kappa over one class: NaN
        found = {
            "balanced_accuracy": float(metrics.balanced_accuracy_score(targets, predicted)),
            "mcc": float(metrics.matthews_corrcoef(targets, predicted)),
            "cohen_kappa": float(metrics.cohen_kappa_score(targets, predicted, labels=labels)),
        }
    for k in sorted({k for k in top_k if 1 < k < len(labels)}):
        rated = predictions.probabilities.numpy()
        found[f"top{k}_accuracy"] = float(metrics.top_k_accuracy_score(targets, rated, k=k, labels=labels))
    return found


def _brier(predictions: Predictions) -> float:
    probabilities_NK = predictions.probabilities
    hot_NK = torch.nn.functional.one_hot(predictions.targets, predictions.num_classes).double()
    summed = float((probabilities_NK - hot_NK).square().sum(1).mean())
    return summed / 2 if predictions.num_classes == 2 else summed


def _torchmetrics(name: str, rated: Tensor, targets: Tensor, **options: Any) -> Tensor:
    """A functional metric of torchmetrics, quiet about classes that don't occur."""
    from torchmetrics.functional import classification

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value: Tensor = getattr(classification, f"multiclass_{name}")(rated, targets, **options)
    return value
