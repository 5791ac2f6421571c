"""Dropout whose masks are cheap to draw on a CPU.

torch draws a mask with one Bernoulli draw a unit, which costs more than a small layer. Here one
64-bit draw gives the masks of four units, 16 bits each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """Sets each unit to zero with a probability, and scales the others up, in training.

    Args:
        p: The probability; on a CPU rounded to a multiple of 1/65536, and the scale is that of
            the rounded one, so that the mean stays exact.

    Source:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        2014; scaled in training rather than in evaluation, as torch does.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Drop units in training; in evaluation nothing happens."""
        if not self.training:
            return input
        if self.p == 1 or input.device.type != "cpu" or not _is_dense(input):
            return super().forward(input)
        return input * scaled_mask(input, self.p)


def scaled_mask(like: Tensor, p: float) -> Tensor:
    """A mask of zeros and of ``1 / (1 - p)``, in the layout and type of ``like``."""
    dropped = min(round(p * _LEVELS), _LEVELS - 1)
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[: like.numel()].as_strided(like.shape, like.stride())
    kept = draws >= dropped - _LEVELS // 2
    return kept.to(like.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def _is_dense(x: Tensor) -> bool:
    """Whether the elements fill one block of memory, in whatever order of axes."""
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))
