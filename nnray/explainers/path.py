"""The gradient integrated along the straight way between two inputs.

The gradient of a network of relus is constant between kinks, and jumps there. By the fundamental theorem
the integral over any piece of the way, along it, is known: the gain in score. So only those pieces are halved
that the gradient at their middle doesn't account for, which finds the kinks, and only until the sum is near
enough.

Shapes: B examples, R pieces of the way of one example or another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnray.explainers import explainer
from nnray.explainers.explainer import gradients, scores

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

    def integrate(self, *, steps: int, allowed: Tensor) -> Tensor:
        """The integral of the gradient times the way, of the inputs' shape.

        Args:
            steps: Pieces to begin with.
            allowed: By how much the sum may miss the gain in score, ``[B]``.
        """
        total, missed_B = torch.zeros_like(self.end), torch.zeros_like(allowed)
        example_R = torch.arange(len(self.end), device=self.end.device).repeat_interleave(steps)
        left_R = (torch.arange(steps).to(self.end) / steps).repeat(len(self.end))
        # Half of what is allowed, over the pieces that the way begins with: few of them are near it.
        most_B, width = allowed / (2 * steps), 1 / steps
        for halving in range(HALVINGS + 1):
            open_, miss_R = torch.zeros_like(total), []
            for example_Q, left_Q in self._blocks(example_R, left_R):
                shares, miss_Q = self._pieces(example_Q, left_Q, width=width)
                far_Q = miss_Q.abs() > most_B[example_Q]
                total.index_add_(0, example_Q[~far_Q], shares[~far_Q])
                open_.index_add_(0, example_Q[far_Q], shares[far_Q])
                miss_R.append(miss_Q)
            misses_R = torch.cat(miss_R)
            far_R = misses_R.abs() > most_B[example_R]
            missed_B.index_add_(0, example_R[~far_R], misses_R[~far_R])
            here_B = missed_B.index_add(0, example_R[far_R], misses_R[far_R])
            # Misses of either sign cancel: where the sum is near enough, all pieces stay as they are.
            done_B = (here_B.abs() <= allowed) | (halving == HALVINGS)
            total[done_B] += open_[done_B]
            again_R = far_R & ~done_B[example_R]
            if not again_R.any():
                break
            width /= 2
            example_R = example_R[again_R].repeat_interleave(2)
            left_R = torch.stack([left_R[again_R], left_R[again_R] + width], dim=1).flatten()
        return total

    def _blocks(self, *pieces: Tensor) -> Iterator[tuple[Tensor, ...]]:
        return zip(*(torch.split(values, explainer.ROWS) for values in pieces), strict=True)

    def _pieces(self, example_R: Tensor, left_R: Tensor, *, width: float) -> tuple[Tensor, Tensor]:
        """What each piece adds, by the gradient at its middle, and how far that is from its gain in score."""
        targets_R, way = self.targets[example_R], (self.end - self.start)[example_R]
        middle = self._at(example_R, left_R + width / 2)
        shares = width * gradients(self.model, middle, targets=targets_R) * way
        right, left = (
            scores(self.model, self._at(example_R, x), targets=targets_R) for x in (left_R + width, left_R)
        )
        return shares, shares.flatten(1).sum(1) - (right - left)

    def _at(self, example_R: Tensor, share_R: Tensor) -> Tensor:
        """The points at some share of the way."""
        share = share_R.reshape(-1, *[1] * (self.end.ndim - 1))
        return torch.lerp(self.start[example_R], self.end[example_R], share)
