"""What is explained: inputs, what the model says of them, and the class that its score is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnray.errors import ConfigError, DataError, Problem, suggestion
from nnray.runners.explanation.chosen import Chosen, filled
from nnray.runners.subject import Subject


@dataclass(frozen=True, slots=True)
class Asked:
    """Inputs of a model, and what of its answers is explained.

    Args:
        subject: The model.
        inputs: Finite: a missing value has been filled in.
        targets: Which class's score of each is explained.
        examples: Name, right class, the model's and the explained class of each, and the confidence.
    """

    subject: Subject
    inputs: Tensor
    targets: Tensor
    examples: list[Mapping[str, Any]]


def ask(subject: Subject, chosen: Chosen, *, target: str | None) -> Asked:
    """Ask the model what it says of inputs.

    Args:
        subject: The model.
        chosen: The inputs.
        target: Name of the class to be explained; None for the one that the model gives each input.

    Raises:
        ConfigError: There is no such class.
        DataError: The model's answer is not a number.
    """
    # Before anything takes time: that no class is named so.
    label = None if target is None else _label(target, subject.info.classes)
    inputs = filled(chosen.inputs, subject.info)
    answers = _answers(subject, inputs)
    targets = answers.argmax(1) if label is None else torch.full((len(inputs),), label)
    return Asked(subject, inputs, targets, _examples(subject, chosen, answers=answers, targets=targets))


def _label(target: str, classes: Sequence[str]) -> int:
    if target not in classes:
        message = f"the model knows no class {target!r}; {suggestion(target, classes)}"
        raise ConfigError("explain", [Problem("target", message)])
    return list(classes).index(target)


def _answers(subject: Subject, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        logits = torch.cat([subject.module(block) for block in torch.split(inputs, 64)])
    if not logits.isfinite().all():
        raise DataError(
            f"{subject.reference}: its answers are not finite numbers: there is nothing to explain"
        )
    return logits.float().softmax(1).clone()


def _examples(
    subject: Subject, chosen: Chosen, *, answers: Tensor, targets: Tensor
) -> list[Mapping[str, Any]]:
    classes, (confidence, predicted) = subject.info.classes, answers.max(1)
    return [
        {
            "name": name,
            "label": None if chosen.labels is None else classes[int(chosen.labels[row])],
            "predicted": classes[int(predicted[row])],
            "confidence": float(confidence[row]),
            "target": classes[int(targets[row])],
        }
        for row, name in enumerate(chosen.names)
    ]
