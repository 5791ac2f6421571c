"""Curves over all thresholds, one class against the rest.

Shapes: N examples, K classes, P points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

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
    return [
        Curve(label, _from_zero(alarms / alarms[-1]), _from_zero(hits / hits[-1]))
        for label, hits, alarms in _counts(predictions)
    ]


def pr_curves(predictions: Predictions) -> list[Curve]:
    """Precision over recall, likewise; steps, which must not be joined by straight lines."""
    return [
        Curve(label, _from_zero(hits / hits[-1]), np.concatenate([[1.0], hits / (hits + alarms)]))
        for label, hits, alarms in _counts(predictions)
    ]


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


def _from_zero(rates: Array) -> Array:
    return np.concatenate([[0.0], rates])


def _counts(predictions: Predictions) -> Iterator[tuple[int, Array, Array]]:
    """Of each class, how many of its examples and of the rest are rated at a level or above, top first."""
    probabilities_KN, defined = predictions.probabilities.T.numpy(), has_both(predictions).tolist()
    targets = predictions.targets.numpy()
    for label in [1] if predictions.num_classes == 2 else range(predictions.num_classes):
        if defined[label]:
            order = np.argsort(-probabilities_KN[label], kind="stable")
            rated, is_class = probabilities_KN[label][order], (targets == label)[order]
            last_of_level = np.append(np.flatnonzero(np.diff(rated)), len(rated) - 1)
            hits = is_class.cumsum()[last_of_level]
            yield label, hits, last_of_level + 1 - hits
