"""Metrics read off counts: precision, recall and F1 from a confusion matrix, ECE from bins.

The macro average is over the classes that occur, among targets or predictions, as in
scikit-learn and torchmetrics; a quotient of nothing by nothing is 0.

torchmetrics is the oracle of the tests and not used at run time: importing it takes 10 s where torch
takes 3.6 s (1.9.0 draws in torchvision and more), in every worker; its calibration error keeps every
confidence, so it doesn't merge in bounded memory, and puts a confidence of exactly 1 in a bin apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnray.metrics import Array

NAMED_CLASSES = 100
"""Above so many classes, metrics by class are read from the confusion matrix alone."""
_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """One against the rest, for each class.

    Shape:
        hits, targets, predictions: ``[K]``.
    """

    hits: Array
    targets: Array
    predictions: Array

    @property
    def precision(self) -> Array:
        """Share of the predictions of a class that are right."""
        return quotient(self.hits, self.predictions)

    @property
    def recall(self) -> Array:
        """Share of the examples of a class that are found."""
        return quotient(self.hits, self.targets)

    @property
    def f1(self) -> Array:
        """Harmonic mean of precision and recall."""
        return quotient(2 * self.hits, self.targets + self.predictions)

    def macro(self, by_class: Array) -> float:
        """The mean over the classes that occur; NaN where none does."""
        occurs = (self.targets + self.predictions) > 0
        return float(by_class[occurs].mean()) if occurs.any() else float("nan")

    def pooled(self) -> ClassCounts:
        """All classes in one, which micro averages are taken of."""
        return ClassCounts(*(np.atleast_1d(x.sum()) for x in (self.hits, self.targets, self.predictions)))


def class_counts(confusion: Array) -> ClassCounts:
    """Count hits, targets and predictions of each class.

    Shape:
        confusion: ``[K, K]``, rows are targets and columns are predictions.
    """
    return ClassCounts(np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0))


def confusion_metrics(confusion: Array, classes: Sequence[str]) -> dict[str, float]:
    """Precision, recall and F1: macro, micro, and F1 by class as ``f1_class_<name>``.

    Args:
        confusion: Counts by target (row) and prediction (column).
        classes: Names of the classes, by label.
    """
    counts = class_counts(confusion)
    pooled = counts.pooled()
    metrics = {}
    for name in ("precision", "recall", "f1"):
        metrics[f"{name}_macro"] = counts.macro(getattr(counts, name))
        metrics[f"{name}_micro"] = float(getattr(pooled, name)[0])
    if len(classes) <= NAMED_CLASSES:
        named = zip(metric_names(classes), counts.f1.tolist(), strict=True)
        metrics.update({f"f1_class_{name}": value for name, value in named})
    return metrics


def calibration_error(bins: Array) -> float:
    """The expected calibration error: the mean gap between confidence and accuracy.

    Shape:
        bins: ``[3, M]``: examples, hits and summed confidence of each bin.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, 2017, eq. 3.
    """
    count, hits, confidence = bins
    return float(np.abs(hits - confidence).sum() / count.sum()) if count.sum() else float("nan")


def metric_names(classes: Sequence[str]) -> list[str]:
    """Names of classes in characters that MLflow takes; where two fall together, all get their label."""
    names = [re.sub(r"[^\w.-]", "_", name)[:_NAME_LENGTH] or "_" for name in classes]
    if max(Counter(names).values(), default=1) == 1:
        return names
    return [f"{label}_{name}" for label, name in enumerate(names)]


def quotient(part: Array, whole: Array) -> Array:
    """``part / whole``, and 0 where ``whole`` is 0."""
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
