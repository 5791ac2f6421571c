"""What a model says of some inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnray.errors import RunError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Probabilities of some inputs, in their order.

    Args:
        names: Of the inputs.
        probabilities: Of each class, by label.
        classes: Their names.

    Shape:
        probabilities: ``[n, K]``.
    """

    names: list[str]
    probabilities: Array
    classes: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The likeliest class of each; the first one of those that are equal."""
        found: NDArray[np.int64] = self.probabilities.argmax(1)
        return found

    def rows(self, *, probabilities: bool) -> Iterator[dict[str, Any]]:
        """Name, label, class and confidence of each, and the probabilities by class where wanted."""
        confidence = self.probabilities.max(1).tolist()
        for row, label in enumerate(self.labels.tolist()):
            found = {
                "name": self.names[row],
                "label": label,
                "class": self.classes[label],
                "confidence": confidence[row],
            }
            if probabilities:
                found["probabilities"] = dict(
                    zip(self.classes, self.probabilities[row].tolist(), strict=True)
                )
            yield found


def classify(module: nn.Module, inputs: Tensor, *, batch_size: int, device: torch.device) -> Array:
    """Probabilities of inputs.

    Args:
        module: On the device, in evaluation mode; gives logits.
        inputs: As it takes them.
        batch_size: Inputs at a time; changes speed and memory, and rounding.
        device: Where it is computed.
    """
    with torch.inference_mode():
        logits = [module(part.to(device)).cpu() for part in torch.split(inputs, batch_size)]
        found: Array = torch.cat(logits).double().softmax(1).numpy()
    return found


def require_finite(answers: Answers, *, reference: str) -> None:
    """Check that a model said something.

    Args:
        answers: Its answers.
        reference: The model.

    Raises:
        RunError: It gave NaN.
    """
    lost = np.flatnonzero(~np.isfinite(answers.probabilities).all(1))
    if len(lost):
        raise RunError(
            f"{reference} gives no finite numbers for {answers.names[lost[0]]}: its weights are damaged or "
            "have diverged, or the input is far beyond what it was trained on; look at the training's loss"
        )
