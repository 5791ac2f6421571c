"""Curves over all thresholds, one class against the rest.

Shapes: N examples, K classes, P points.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nnray.evaluation.predictions import Predictions
from nnray.evaluation.scores import has_both
from nnray.metrics import Array

_GRID = 201


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points from left to right.

    Args:
        label: Of the class; None for the mean of all.
        x: False positive rate, or recall.
        y: True positive rate, or precision.

    Shape:
        x, y: ``[P]``.
    """

    label: int | None
    x: Array
    y: Array

    def thinned(self, points: int = _GRID) -> Curve:
        """At most so many of its points, the ends among them."""
        index = np.unique(np.linspace(0, len(self.x) - 1, min(points, len(self.x))).round().astype(int))
        return Curve(self.label, self.x[index], self.y[index])

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it."""
        return {"label": self.label, "x": self.x.round(6).tolist(), "y": self.y.round(6).tolist()}


def roc_curves(predictions: Predictions) -> list[Curve]:
    """True over false positive rate, for each class where both are defined; of two classes the second's."""
    from torchmetrics.functional.classification import binary_roc

    def points(rated: Tensor, is_class: Tensor) -> tuple[Array, Array]:
        false_positive, true_positive, _ = binary_roc(rated, is_class)
        return false_positive.double().numpy(), true_positive.double().numpy()

    return _curves(predictions, points)


def pr_curves(predictions: Predictions) -> list[Curve]:
    """Precision over recall, likewise; steps, which must not be joined by straight lines."""
    from torchmetrics.functional.classification import binary_precision_recall_curve

    def points(rated: Tensor, is_class: Tensor) -> tuple[Array, Array]:
        precision, recall, _ = binary_precision_recall_curve(rated, is_class)
        return recall.double().numpy()[::-1].copy(), precision.double().numpy()[::-1].copy()

    return _curves(predictions, points)


def mean_curve(curves: list[Curve], *, steps: bool = False) -> Curve:
    """The mean over classes, at the same places of all.

    Args:
        curves: One for each class.
        steps: Whether y is that of the next point to the right, or on the line between two.
    """
    grid = np.linspace(0, 1, _GRID)
    return Curve(None, grid, np.mean([_at(curve, grid, steps=steps) for curve in curves], axis=0))


def _at(curve: Curve, grid: Array, *, steps: bool) -> Array:
    if steps:
        index = np.searchsorted(curve.x, grid).clip(max=len(curve.x) - 1)
        return np.asarray(curve.y[index])
    return np.interp(grid, curve.x, curve.y)


def _curves(predictions: Predictions, points: Callable[[Tensor, Tensor], tuple[Array, Array]]) -> list[Curve]:
    probabilities_NK, defined_K = predictions.probabilities, has_both(predictions)
    wanted = [1] if predictions.num_classes == 2 else range(predictions.num_classes)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label in wanted:
            if defined_K[label]:
                is_class_N = (predictions.targets == label).long()
                found.append(Curve(label, *points(probabilities_NK[:, label], is_class_N)))
    return found
