"""The gradient integrated along the straight way between two inputs.

The gradient of a network of relus is constant between kinks, and jumps there. By the fundamental theorem the
integral over any piece of the way is known along it, the gain in score: so a piece is halved only where the
gradient at its middle doesn't account for that, which finds the kinks.

Shapes: B examples, R pieces of the way of one example or another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnray.explain import explainer
from nnray.explain.explainer import gradients, scores

HALVINGS = 7


@dataclass(frozen=True, slots=True)
class Way:
    """The straight way from one input to another, for each example.

    Args:
        model: To be explained.
        start: Where it begins, ``[B, ...]``.
        end: Where it ends.
        targets: The class of each example.
    """

    model: nn.Module
    start: Tensor
    end: Tensor
    targets: Tensor

    def integrate(self, *, steps: int, most: Tensor) -> Tensor:
        """The integral of the gradient times the way, of the inputs' shape.

        Args:
            steps: Pieces to begin with.
            most: By how much a piece may miss its gain in score, ``[B]``.
        """
        total, width = torch.zeros_like(self.end), 1 / steps
        example_R = torch.arange(len(self.end), device=self.end.device).repeat_interleave(steps)
        left_R = (torch.arange(steps).to(self.end) / steps).repeat(len(self.end))
        for halving in range(HALVINGS + 1):
            far_R = self._add(total, (example_R, left_R), width=width, most=most, last=halving == HALVINGS)
            width /= 2
            example_R = example_R[far_R].repeat_interleave(2)
            left_R = torch.stack([left_R[far_R], left_R[far_R] + width], dim=1).flatten()
            if not len(left_R):
                break
        return total

    def _add(
        self, total: Tensor, pieces: tuple[Tensor, Tensor], *, width: float, most: Tensor, last: bool
    ) -> Tensor:
        """Add the pieces that are near enough to the total; tells which aren't."""
        far = [torch.zeros(0, dtype=torch.bool, device=total.device)]
        blocks = zip(*(torch.split(values, explainer.ROWS) for values in pieces), strict=True)
        for example_R, left_R in blocks:
            targets_R, way = self.targets[example_R], (self.end - self.start)[example_R]
            slopes = gradients(self.model, self._at(example_R, left_R + width / 2), targets=targets_R)
            shares = width * slopes * way
            ends = [
                scores(self.model, self._at(example_R, x), targets=targets_R)
                for x in (left_R + width, left_R)
            ]
            miss_R = (shares.flatten(1).sum(1) - (ends[0] - ends[1])).abs()
            far.append((miss_R > most[example_R]) & (not last))
            total.index_add_(0, example_R[~far[-1]], shares[~far[-1]])
        return torch.cat(far)

    def _at(self, example_R: Tensor, share_R: Tensor) -> Tensor:
        """The points at some share of the way."""
        share = share_R.reshape(-1, *[1] * (self.end.ndim - 1))
        return torch.lerp(self.start[example_R], self.end[example_R], share)
