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
class Pieces:
    """Pieces of the ways of examples, all of one width.

    Args:
        example: Whose way each is a piece of, ``[R]``.
        left: The share of the way at which it begins, ``[R]``.
        width: Of each, as a share of the way.
    """

    example: Tensor
    left: Tensor
    width: float

    def halved(self, which_R: Tensor) -> Pieces:
        """Some of them, in two each."""
        width, left_R = self.width / 2, self.left[which_R]
        example_R = self.example[which_R].repeat_interleave(2)
        return Pieces(example_R, torch.stack([left_R, left_R + width], dim=1).flatten(), width)

    def blocks(self) -> Iterator[Pieces]:
        """As many at a time as memory is meant for."""
        split = (torch.split(values, explainer.ROWS) for values in (self.example, self.left))
        return (Pieces(example_Q, left_Q, self.width) for example_Q, left_Q in zip(*split, strict=True))


@dataclass(frozen=True, slots=True)
class _Sums:
    """What pieces add, and how far that is from their gains in score: of near ones and of far ones."""

    near: Tensor
    far: Tensor
    missed_near: Tensor
    missed_far: Tensor
    is_far: Tensor


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
        pieces = self._cut(steps)
        for halving in range(HALVINGS + 1):
            # Half of what is still allowed, over the pieces: however many stay, they don't miss by more.
            count_B = pieces.example.bincount(minlength=len(allowed)).clamp_min(1)
            found = self._add_up(pieces, most_B=(allowed - missed_B.abs()) / (2 * count_B))
            total += found.near
            missed_B += found.missed_near
            # Misses of either sign cancel: where the sum is near enough, all pieces stay as they are.
            done_B = ((missed_B + found.missed_far).abs() <= allowed) | (halving == HALVINGS)
            total[done_B] += found.far[done_B]
            again_R = found.is_far & ~done_B[pieces.example]
            if not again_R.any():
                break
            pieces = pieces.halved(again_R)
        return total

    def _cut(self, steps: int) -> Pieces:
        """All ways into pieces of one width."""
        example_R = torch.arange(len(self.end), device=self.end.device).repeat_interleave(steps)
        left_R = (torch.arange(steps).to(self.end) / steps).repeat(len(self.end))
        return Pieces(example_R, left_R, 1 / steps)

    def _add_up(self, pieces: Pieces, *, most_B: Tensor) -> _Sums:
        """What pieces add to each example: those near their gain in score, and the others."""
        near, far = torch.zeros_like(self.end), torch.zeros_like(self.end)
        miss_R = []
        for block in pieces.blocks():
            shares, miss_Q = self._shares(block)
            is_far_Q = miss_Q.abs() > most_B[block.example]
            near.index_add_(0, block.example[~is_far_Q], shares[~is_far_Q])
            far.index_add_(0, block.example[is_far_Q], shares[is_far_Q])
            miss_R.append(miss_Q)
        misses_R = torch.cat(miss_R)
        is_far_R = misses_R.abs() > most_B[pieces.example]
        missed_near_B, missed_far_B = (
            torch.zeros_like(most_B).index_add(0, pieces.example[which], misses_R[which])
            for which in (~is_far_R, is_far_R)
        )
        return _Sums(near, far, missed_near_B, missed_far_B, is_far_R)

    def _shares(self, pieces: Pieces) -> tuple[Tensor, Tensor]:
        """What each piece adds, by the gradient at its middle, and how far that is from its gain in score."""
        example_R, left_R, width = pieces.example, pieces.left, pieces.width
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
