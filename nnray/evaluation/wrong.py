"""The mistakes that a model is surest of: mislabelled examples stand among them, and real blind spots."""

from __future__ import annotations

from dataclasses import dataclass

from nnray.evaluation.predictions import Predictions


@dataclass(frozen=True, slots=True)
class WrongExample:
    """An example in the wrong class.

    Args:
        index: Of the example in its split.
        target: Its label.
        predicted: The label given.
        confidence: Probability of that.
        target_probability: Probability of its label.
    """

    index: int
    target: int
    predicted: int
    confidence: float
    target_probability: float


def most_wrong(predictions: Predictions, *, count: int = 25) -> list[WrongExample]:
    """The mistakes with the highest loss, that is the least probability for the right class, worst first.

    Args:
        predictions: What is measured.
        count: So many at most.
    """
    predicted, targets = predictions.predicted, predictions.targets
    wrong = (predicted != targets).nonzero()[:, 0]
    order = predictions.losses[wrong].argsort(descending=True, stable=True)[:count]
    probabilities = predictions.probabilities
    return [
        WrongExample(
            index=index,
            target=int(targets[index]),
            predicted=int(predicted[index]),
            confidence=float(probabilities[index, predicted[index]]),
            target_probability=float(probabilities[index, targets[index]]),
        )
        for index in wrong[order].tolist()
    ]
