"""What is answered: MLflow's ``{"predictions": [...]}``, in numbers that JSON has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import torch
from torch import Tensor

from nnray.runners.serving.payload import Output
from nnray.runners.serving.refusal import Refusal, bad_request


def answer(
    logits_BK: Tensor, *, output: Output, classes: Sequence[str], threshold: float | None = None
) -> bytes:
    """The body of an answer.

    Args:
        logits_BK: Of the examples, in their order.
        output: ``logits``, as MLflow's own server gives them; ``probabilities``, by class; or ``classes``:
            for each example its label, the name of that class, and the confidence.
        classes: Names, by label; none where the model gives no classes.
        threshold: Of two classes: from which probability on the second is told; None for the likelier.

    Raises:
        Refusal: The model gave what is no number, or has no classes of examples that are asked for.
    """
    if output != "logits" and not classes:
        raise bad_request(f"output is {output!r}; the model tells numbers, not classes: leave it out")
    if output == "classes" and logits_BK.ndim != 2:
        raise bad_request("output is 'classes'; the model tells many classes of an example: ask for logits")
    values_BK = logits_BK if output == "logits" else torch.softmax(logits_BK.double(), dim=1)
    finite_B = torch.isfinite(values_BK).reshape(len(values_BK), -1).all(1)
    if not bool(finite_B.all()):
        example = int((~finite_B).int().argmax())
        sentence = f"the model gave {output} for example {example} that are not finite numbers"
        raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, sentence)
    predictions = (
        _named(values_BK, classes, threshold=threshold) if output == "classes" else values_BK.tolist()
    )
    return json.dumps({"predictions": predictions}, allow_nan=False).encode()


def _named(
    probabilities_BK: Tensor, classes: Sequence[str], *, threshold: float | None
) -> list[dict[str, Any]]:
    if threshold is None:
        labels = probabilities_BK.argmax(1)
    else:
        labels = (probabilities_BK[:, 1] >= threshold).long()
    confidence = probabilities_BK.gather(1, labels[:, None])[:, 0]
    pairs = zip(labels.tolist(), confidence.tolist(), strict=True)
    return [{"label": label, "class": classes[label], "confidence": sure} for label, sure in pairs]
