"""What a model says of some inputs: classes with probabilities, or a number of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnray.errors import RunError
from nnray.tasks.task import Task

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Probabilities of some inputs, in their order.

    Args:
        names: Of the inputs.
        probabilities: Of each class, by label.
        classes: Their names.
        threshold: Of two classes: from which probability on the second is told; None for the likelier.

    Shape:
        probabilities: ``[n, K]``.
    """

    names: list[str]
    probabilities: Array
    classes: tuple[str, ...]
    threshold: float | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class that each is told to be of: by the threshold, or the first of the likeliest."""
        if self.threshold is not None:
            return (self.probabilities[:, 1] >= self.threshold).astype(np.int64)
        found: NDArray[np.int64] = self.probabilities.argmax(1)
        return found

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Of each, whether the model said something."""
        found: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(self.probabilities), axis=1)
        return found

    def columns(self, *, probabilities: bool) -> dict[str, Any]:
        """Name, label, class and confidence, and a column for each class where wanted."""
        labels = self.labels
        found = {
            "name": self.names,
            "label": labels.tolist(),
            "class": [self.classes[label] for label in labels],
            "confidence": self.probabilities[np.arange(len(labels)), labels].tolist(),
        }
        if probabilities:
            for name, column in zip(self.classes, self.probabilities.T.tolist(), strict=True):
                found[f"p_{name}"] = column
        return found

    def rows(self, *, probabilities: bool) -> Iterator[dict[str, Any]]:
        """Name, label, class and confidence of each, and the probabilities by class where wanted."""
        columns = self.columns(probabilities=False)
        for row, values in enumerate(zip(*columns.values(), strict=True)):
            found: dict[str, Any] = dict(zip(columns, values, strict=True))
            if probabilities:
                found["probabilities"] = dict(
                    zip(self.classes, self.probabilities[row].tolist(), strict=True)
                )
            yield found


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number for each of some inputs, in their order.

    Args:
        names: Of the inputs.
        values: What the model says.

    Shape:
        values: ``[n]``.
    """

    names: list[str]
    values: Array

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Of each, whether the model said something."""
        found: NDArray[np.bool_] = np.isfinite(self.values)
        return found

    def columns(self, *, probabilities: bool) -> dict[str, Any]:
        """Name and prediction."""
        assert not probabilities, "numbers have no classes"
        return {"name": self.names, "prediction": self.values.tolist()}

    def rows(self, *, probabilities: bool) -> Iterator[dict[str, Any]]:
        """Name and prediction of each."""
        columns = self.columns(probabilities=probabilities)
        for name, value in zip(*columns.values(), strict=True):
            yield {"name": name, "prediction": value}


def outputs_of(module: nn.Module, inputs: Tensor, *, batch_size: int, device: torch.device) -> Array:
    """What a model gives for inputs, ``[n, K]``.

    Args:
        module: On the device, in evaluation mode.
        inputs: As it takes them.
        batch_size: Inputs at a time; changes speed and memory, and rounding.
        device: Where it is computed.
    """
    with torch.inference_mode():
        parts = [module(part.to(device)).cpu() for part in torch.split(inputs, batch_size)]
        found: Array = torch.cat(parts).reshape(len(inputs), -1).double().numpy()
    return found


def bounded(task: Task, outputs: Array) -> Array:
    """Numbers within the bounds of a task, where it has some."""
    bound = getattr(task, "bounded", None)
    found: Array = outputs if bound is None else bound(torch.tensor(outputs)).numpy()
    return found


def answered(
    names: list[str], outputs: Array, *, classes: tuple[str, ...], threshold: float | None
) -> Answers | Numbers:
    """What outputs say.

    Args:
        names: Of the inputs.
        outputs: Logits, or a number each.
        classes: Names of the classes; none for numbers.
        threshold: Of two classes.
    """
    if not classes:
        return Numbers(names, outputs[:, 0])
    # Copied: what workers send can't be written to, and torch has no such tensors.
    probabilities: Array = torch.tensor(outputs).softmax(1).numpy()
    return Answers(names, probabilities, classes, threshold)


def require_finite(answers: Answers | Numbers, *, reference: str) -> None:
    """Check that a model said something.

    Args:
        answers: Its answers.
        reference: The model.

    Raises:
        RunError: It gave NaN.
    """
    lost = np.flatnonzero(~answers.finite)
    if len(lost):
        raise RunError(
            f"{reference} gives no finite numbers for {answers.names[lost[0]]}: its weights are damaged or "
            "have diverged, or the input is far beyond what it was trained on; look at the training's loss"
        )
