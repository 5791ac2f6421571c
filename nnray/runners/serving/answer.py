"""What is answered: MLflow's ``{"predictions": [...]}``, in numbers that JSON has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import torch
from torch import Tensor

from nnray.runners.serving.payload import Output
from nnray.runners.serving.refusal import Refusal


def answer(logits_BK: Tensor, *, output: Output, classes: Sequence[str]) -> bytes:
    """The body of an answer.

    Args:
        logits_BK: Of the examples, in their order.
        output: ``logits``, as MLflow's own server gives them; ``probabilities``, by class; or ``classes``:
            for each example its label, the name of that class, and the confidence.
        classes: Names, by label.

    Raises:
        Refusal: The model gave what is no number.
    """
    values_BK = logits_BK if output == "logits" else torch.softmax(logits_BK.double(), dim=1)
    finite_B = torch.isfinite(values_BK).all(1)
    if not bool(finite_B.all()):
        example = int((~finite_B).int().argmax())
        sentence = f"the model gave {output} for example {example} that are not finite numbers"
        raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, sentence)
    predictions = _named(values_BK, classes) if output == "classes" else values_BK.tolist()
    return json.dumps({"predictions": predictions}, allow_nan=False).encode()


def _named(probabilities_BK: Tensor, classes: Sequence[str]) -> list[dict[str, Any]]:
    confidence, labels = probabilities_BK.max(1)
    pairs = zip(labels.tolist(), confidence.tolist(), strict=True)
    return [{"label": label, "class": classes[label], "confidence": sure} for label, sure in pairs]
