"""Whether confidence is to be trusted, and the one number that mends it (Guo et al., 2017).

Shapes: N examples, K classes, M bins of confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.evaluation.predictions import Predictions
from nnray.metrics import Array
from nnray.tasks.classification import confidence_bins
from nnray.tasks.confusion import calibration_error, quotient

BINS = 15
_COLDEST, _HOTTEST, _HALVINGS = 0.01, 100.0, 80


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Examples by bin of confidence, the bins of equal width from 0 to 1.

    Args:
        count: Examples of each bin.
        accuracy: Share of hits in each; 0 where it is empty.
        confidence: Mean confidence in each; likewise.
        ece: Expected calibration error, the mean gap over the examples.
        mce: Maximum calibration error, the widest gap of a bin.

    Shape:
        count, accuracy, confidence: ``[M]``.
    """

    count: Array
    accuracy: Array
    confidence: Array
    ece: float
    mce: float

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it."""
        columns = {name: getattr(self, name).tolist() for name in ("count", "accuracy", "confidence")}
        return {**columns, "ece": self.ece, "mce": self.mce}


def reliability(predictions: Predictions, *, bins: int = BINS) -> Reliability:
    """Compare confidence in the likeliest class with how often it is right.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, 2017, eq. 3 and 5. Where two classes are parted
        by a threshold it is still the likelier one that counts.
    """
    hits_N = predictions.logits.argmax(1) == predictions.targets
    count, hits, confidence = sums = confidence_bins(predictions.logits, hits_N, num_bins=bins).numpy()
    accuracy, mean_confidence = quotient(hits, count), quotient(confidence, count)
    return Reliability(
        count=count,
        accuracy=accuracy,
        confidence=mean_confidence,
        ece=calibration_error(sums),
        mce=float(abs(accuracy - mean_confidence).max()),
    )


@dataclass(frozen=True, slots=True)
class Temperature:
    """What logits are divided by.

    Args:
        value: Above 1 where the model is too sure.
        at_bound: Whether the loss would fall still further beyond it: all are hits, say.
        num_examples: That it was fitted on.
    """

    value: float
    at_bound: bool
    num_examples: int


def fit_temperature(predictions: Predictions) -> Temperature:
    """The temperature with the least log loss; give it the validation split, and never the test split.

    The loss is convex in the inverse of the temperature, so its derivative has one zero, found by bisection.

    Args:
        predictions: Of examples that the reported figures are not taken of.

    Source:
        Guo et al., 2017, section 4.2.
    """
    logits_NK, targets = predictions.logits.double(), predictions.targets
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    bound = next((b for b in (low, high) if (_slope(logits_NK, targets, b) > 0) == (b == low)), None)
    if bound is not None:
        return Temperature(1 / bound, True, len(targets))
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _slope(logits_NK, targets, middle) > 0 else (middle, high)
    return Temperature(1 / math.sqrt(low * high), False, len(targets))


def _slope(logits_NK: Tensor, targets: Tensor, inverse: float) -> float:
    """The derivative of the mean log loss by the inverse of the temperature."""
    expected_N = ((logits_NK * inverse).softmax(1) * logits_NK).sum(1)
    return float((expected_N - logits_NK.gather(1, targets[:, None])[:, 0]).mean(dtype=torch.float64))
