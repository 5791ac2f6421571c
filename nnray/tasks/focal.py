"""Focal loss: cross-entropy in which examples that are told well weigh less."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_LEAST = 1e-6


def focal_losses(
    outputs_BK: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The loss of each example, ``[B]``: cross-entropy where ``gamma`` is 0.

    Args:
        outputs_BK: Logits.
        targets: Labels ``[B]``, or probabilities ``[B, K]``.
        gamma: Each class's part of the loss is scaled by ``(1 - p) ** gamma``, p its probability.
        class_weights: Of each class's part.
        label_smoothing: Share of a target that is spread over all classes.

    Source: Lin et al., "Focal loss for dense object detection", 2017, equation 5; for targets that are not
        one class the sum over classes.
    """
    num_classes = outputs_BK.shape[1]
    shares_BK = (one_hot(targets, num_classes) if targets.ndim == 1 else targets).to(outputs_BK.dtype)
    shares_BK = shares_BK * (1 - label_smoothing) + label_smoothing / num_classes
    logs_BK = outputs_BK.log_softmax(1)
    # Kept off 0, where a power below 1 has no finite slope.
    far_BK = -torch.expm1(logs_BK)
    weights = 1.0 if class_weights is None else outputs_BK.new_tensor(class_weights)
    return -(shares_BK * weights * far_BK.clamp(min=_LEAST) ** gamma * logs_BK).sum(1)
