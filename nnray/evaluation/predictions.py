"""What a model says about labelled examples, collected in one pass; all that is measured comes from it.

Shapes: N examples, K classes. What is kept of an example is one float32 a class, however large it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nnray.errors import DataError
from nnray.evaluation.evaluate import evaluation_mode


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Logits and labels of the same examples.

    Args:
        logits: As the model gives them.
        targets: Labels.
        threshold: Of two classes: the second is predicted from this probability on; None for the likelier.

    Shape:
        logits: ``[N, K] float32``.
        targets: ``[N] int64``.
    """

    logits: Tensor
    targets: Tensor
    threshold: float | None = None

    def __post_init__(self) -> None:
        assert self.logits.ndim == 2 and len(self.logits) == len(self.targets) > 0
        assert self.threshold is None or self.num_classes == 2, "a threshold parts two classes"

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.logits.shape[1]

    @property
    def probabilities(self) -> Tensor:
        """Of each class, ``[N, K] float64``."""
        return self.logits.double().softmax(1)

    @property
    def predicted(self) -> Tensor:
        """The class that each example is put in, ``[N]``; of equal logits the lower label."""
        if self.threshold is None:
            return self.logits.argmax(1)
        return (self.probabilities[:, 1] >= self.threshold).long()

    @property
    def losses(self) -> Tensor:
        """The cross-entropy of each example, ``[N] float64``."""
        logs_NK = self.logits.double().log_softmax(1)
        return -logs_NK.gather(1, self.targets[:, None])[:, 0]

    def scaled(self, temperature: float) -> Predictions:
        """The same with logits divided by ``temperature``."""
        return replace(self, logits=self.logits / temperature)


def collect(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, where: str) -> Predictions:
    """Run a model once over all batches, leaving no trace in it.

    Args:
        model: Gives ``[B, K]`` logits.
        batches: Inputs and targets, on the model's device.
        where: The examples, for messages.

    Raises:
        DataError: There are no examples, or the model's answers aren't numbers.
    """
    logits, targets = [], []
    with torch.inference_mode(), evaluation_mode(model):
        for inputs, labels in batches:
            logits.append(model(inputs).float().cpu())
            targets.append(labels.cpu())
    if not sum(map(len, targets)):
        raise DataError(f"{where}: there are no examples; at least one is needed to measure anything")
    with torch.inference_mode(False):
        found = Predictions(torch.cat(logits).clone(), torch.cat(targets).clone())
    _require_numbers(found.logits, where)
    return found


def _require_numbers(logits: Tensor, where: str) -> None:
    bad_N = ~torch.isfinite(logits).all(1)
    if bad_N.any():
        raise DataError(
            f"{where}: the model gives NaN or infinity for {int(bad_N.sum())} of {len(bad_N)} examples, "
            f"first for example {int(bad_N.nonzero()[0])}; only numbers can be measured: its weights may "
            "have diverged in training (look at its loss), or the inputs are far from what it was trained on"
        )
