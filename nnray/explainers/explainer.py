"""What all explainers share: the score that is explained, its gradient, and where an input counts as absent.

An explainer attributes a score, the logit of a class, to the values of an input. What it says of an example
doesn't depend on the others of its batch: random draws are shared by all examples of a batch.

Captum knows more methods, but draws from global generators, which makes results depend on what ran before;
these few methods are short, so they stand here, and Captum is what tests compare them with.

Shapes: B examples, K classes, R examples of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo

BaselineName = Literal["auto", "zero", "mean"]
ROWS = 512
"""Examples in one pass through a model, which bounds memory."""


class Explainer(Protocol):
    """Tells which values of an input a score rests on."""

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, /) -> Tensor:
        """Attributions, of the inputs' shape.

        Args:
            model: In evaluation mode; left as it is.
            inputs: Finite: a missing value has been filled in.
            targets: The class of each whose score is explained, ``[B] int64``.
        """


@runtime_checkable
class Complete(Protocol):
    """An explainer whose attributions add up to what the score gains over that of a baseline."""

    def reference(self, inputs: Tensor) -> Tensor:
        """The baseline of each input, of the inputs' shape."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What stands for an absent value; made by ``baseline_of``.

    Args:
        values: By channel or feature; one for all where the data has no statistics.
    """

    values: tuple[float, ...]

    def of(self, inputs: Tensor) -> Tensor:
        """The baseline of each input.

        Shape:
            inputs: ``[B, C, H, W]`` or ``[B, F]``.
        """
        by_channel = inputs.new_tensor(self.values).reshape(1, -1, *[1] * (inputs.ndim - 2))
        return by_channel.expand_as(inputs)


def baseline_of(info: DataInfo, name: BaselineName) -> Baseline:
    """The baseline that a name means for a data set: ``auto`` is black for images, the mean for vectors."""
    is_image = len(info.input_shape) == 3
    if name == "zero" or (name == "auto" and is_image) or not info.mean:
        return Baseline((0.0,))
    return Baseline(info.mean)


def blocks_of(inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Examples and their targets, as many at a time as memory is meant for."""
    for start in range(0, len(targets), ROWS):
        yield inputs[start : start + ROWS], targets[start : start + ROWS]


def scores(model: nn.Module, inputs: Tensor, *, targets: Tensor) -> Tensor:
    """The logit of each example's target, ``[B]``, without gradient."""
    assert not model.training, "dropout would make a score random"
    with torch.no_grad():
        found = [
            model(inputs_R).gather(1, targets_R[:, None])[:, 0]
            for inputs_R, targets_R in blocks_of(inputs, targets)
        ]
    return torch.cat(found)


def gradients(model: nn.Module, inputs: Tensor, *, targets: Tensor) -> Tensor:
    """The gradient of each example's score by its input; the parameters' own gradients stay as they are."""
    assert not model.training, "dropout would make a gradient random"
    found = []
    for inputs_R, targets_R in blocks_of(inputs, targets):
        with torch.enable_grad():
            leaf = inputs_R.detach().clone().requires_grad_()
            total = model(leaf).gather(1, targets_R[:, None]).sum()
            (slope,) = torch.autograd.grad(total, leaf, allow_unused=True, materialize_grads=True)
        found.append(slope)
    return torch.cat(found)
