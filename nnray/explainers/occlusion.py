"""Occlusion: how much the score falls when a part of the input is absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.explainers.explainer import Baseline, BaselineName, baseline_of, scores
from nnray.fields import PositiveInt

PARTS = 8
"""A window is by default this part of an image's side."""


def occlusion(
    info: DataInfo,
    *,
    window: PositiveInt | None = None,
    stride: PositiveInt | None = None,
    baseline: BaselineName = "auto",
) -> Occlusion:
    """The fall in score when a window is covered, averaged over all windows that cover a value.

    Args:
        window: Pixels of its side; by default an eighth of the image's, at least 3. Of vectors each feature
            is covered by itself.
        stride: Pixels from one window to the next; by default half a window. The last one ends at the edge.
        baseline: What covers: zero (black), mean (of the training data), or auto: zero for images, mean for
            vectors.

    Raises:
        ConfigError: Windows leave gaps.

    Source:
        Zeiler and Fergus 2014, section 4.2. All channels are covered at once, and share the fall.
    """
    side = window or max(3, min(info.input_shape[1:], default=1) // PARTS)
    step = stride or max(1, side // 2)
    if step > side:
        message = f"must not be more than the window, {side}, or pixels are left out (got {step})"
        raise ConfigError("occlusion", [Problem("stride", message)])
    return Occlusion(baseline_of(info, baseline), side, step)


@dataclass(frozen=True, slots=True)
class Occlusion:
    """Made by ``occlusion``.

    Args:
        baseline: What covers.
        window: Pixels of its side.
        stride: Pixels from one to the next.
    """

    baseline: Baseline
    window: int
    stride: int

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cover one window after the other."""
        cover, plain = self.baseline.of(inputs), scores(model, inputs, targets=targets)
        total, count = torch.zeros_like(inputs), torch.zeros_like(inputs[0])
        for mask in self.masks(inputs[0]):
            fall = plain - scores(model, torch.where(mask, cover, inputs), targets=targets)
            total += fall.reshape(-1, *[1] * (inputs.ndim - 1)) * mask
            count += mask
        return total / count

    def masks(self, example: Tensor) -> Iterator[Tensor]:
        """What each window covers, of the shape of one example."""
        sides = example.shape if example.ndim == 1 else example.shape[1:]
        window, stride = (1, 1) if example.ndim == 1 else (self.window, self.stride)
        for corner in product(*(_starts(side, window, stride=stride) for side in sides)):
            mask = torch.zeros(sides, dtype=torch.bool, device=example.device)
            mask[tuple(slice(start, start + window) for start in corner)] = True
            yield mask.expand_as(example)


def _starts(side: int, window: int, *, stride: int) -> list[int]:
    last = max(0, side - window)
    return sorted({*range(0, last + 1, stride), last})
