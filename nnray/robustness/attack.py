"""What an attack is: it looks for a change of an input, within a bound, that makes a network wrong.

An entry of the catalog gives an `Attack`. Its ``perturb`` may be any search; what all attacks promise is done
here, around it: the network is in evaluation mode and gets no gradients, the bound and the box hold to the
last bit, no example moves at epsilon 0, and what is drawn comes from the generator that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from nnray.evaluation.evaluate import evaluation_mode
from nnray.robustness.space import Norm, Space, kept_within

Perturb = Callable[..., Tensor]
"""``(model, inputs, targets, *, epsilon, norm, space, rng) -> inputs``, moved by ``epsilon`` at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A way to look for adversarial inputs.

    Args:
        norm: By which moves are measured.
        perturb: The search.
        is_minimal: Whether it looks for the smallest move that misleads, whatever its size; such a search may
            be told an infinite epsilon.
        is_black_box: Whether it needs outputs only, and no gradients.
    """

    norm: Norm
    perturb: Perturb
    is_minimal: bool = False
    is_black_box: bool = False

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        epsilon: float,
        space: Space,
        rng: Generator,
    ) -> Tensor:
        """Inputs that the model is more wrong on, each within ``epsilon`` of what it was.

        Args:
            model: Takes inputs, gives logits. It is left as it was.
            inputs: Float32; not changed.
            targets: Their labels.
            epsilon: The largest norm of a move; from 0 on.
            space: The units and the box of inputs.
            rng: A CPU generator, which all draws come from.
        """
        if epsilon == 0 or not len(inputs):
            return inputs.clone()
        with evaluation_mode(model):
            moved = self.perturb(
                model, inputs, targets, epsilon=epsilon, norm=self.norm, space=space, rng=rng
            ).detach()
        moved = torch.where(moved.isfinite() | inputs.isnan(), moved, inputs)
        return kept_within(inputs, moved, epsilon=epsilon, norm=self.norm, space=space)


def is_wrong(outputs: Tensor, targets: Tensor) -> Tensor:
    """Which examples are not of the class that outputs say, ``[B] bool``; outputs that are NaN are wrong."""
    at_target = outputs.gather(1, targets[:, None])[:, 0]
    return (outputs.argmax(1) != targets) | ~at_target.isfinite()
