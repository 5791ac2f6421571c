"""Explainers that follow the gradient of the score: saliency, SmoothGrad, integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.explainers.explainer import Baseline, BaselineName, baseline_of, gradients, scores
from nnray.explainers.path import Way
from nnray.fields import NonNegative, Positive, PositiveInt
from nnray.seeding import torch_rng

LEAST_GAIN = 0.01
"""Errors of completeness are relative to the gain in score, or to this many logits where it gains less."""


def saliency(info: DataInfo, *, absolute: bool = True) -> Saliency:
    """The gradient of the score: how much it changes with each value.

    Args:
        absolute: Without the sign.

    Source:
        Simonyan, Vedaldi and Zisserman 2014, section 3; channels are kept apart.
    """
    return Saliency(absolute)


@dataclass(frozen=True, slots=True)
class Saliency:
    """Made by ``saliency``."""

    absolute: bool = True

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The gradient at the input."""
        slopes = gradients(model, inputs, targets=targets)
        return slopes.abs() if self.absolute else slopes


def smoothgrad(
    info: DataInfo,
    *,
    samples: PositiveInt = 32,
    noise: NonNegative = 0.15,
    absolute: bool = True,
    seed: int = 0,
) -> SmoothGrad:
    """The mean gradient over noisy copies of the input, which averages out its jitter.

    Args:
        samples: Noisy copies.
        noise: Standard deviation of the noise, as a share of the range of the input's values; of a standard
            deviation of each feature where the inputs are vectors.
        absolute: Without the sign, taken after averaging.

    Source:
        Smilkov et al. 2017, equation 1. All examples of a batch get the same noise.
    """
    spread = None if len(info.input_shape) == 3 else info.std or (1.0,)
    return SmoothGrad(samples, noise, absolute, seed, spread)


@dataclass(frozen=True, slots=True)
class SmoothGrad:
    """Made by ``smoothgrad``.

    Args:
        samples: Noisy copies.
        noise: Standard deviation, over the spread of the input.
        absolute: Without the sign.
        seed: Of the noise.
        spread: Of each feature; None for the range of each input.
    """

    samples: int
    noise: float
    absolute: bool
    seed: int
    spread: tuple[float, ...] | None

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean gradient around the input."""
        scale = self.noise * self._spread(inputs)
        rng = torch_rng(self.seed, "smoothgrad")
        total = torch.zeros_like(inputs)
        for _ in range(self.samples):
            draw = torch.randn(inputs.shape[1:], generator=rng).to(inputs)
            total += gradients(model, inputs + scale * draw, targets=targets)
        mean = total / self.samples
        return mean.abs() if self.absolute else mean

    def _spread(self, inputs: Tensor) -> Tensor:
        if self.spread is not None:
            return inputs.new_tensor(self.spread)
        flat = inputs.flatten(1)
        return (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (inputs.ndim - 1))


def integrated_gradients(
    info: DataInfo, *, steps: PositiveInt = 32, baseline: BaselineName = "auto", tolerance: Positive = 0.005
) -> IntegratedGradients:
    """The gradient along the straight way from a baseline, times that way; sums to the gain in score.

    Args:
        steps: Pieces of the way, at first; those that the gradient doesn't account for are halved, and again.
        baseline: Where the way begins: zero (black), mean (of the training data), or auto: zero for images,
            mean for vectors.
        tolerance: How far the sum may be off, over the gain in score.

    Source:
        Sundararajan, Taly and Yan 2017, equation 1; by the midpoint rule on pieces of the way.
    """
    return IntegratedGradients(baseline_of(info, baseline), steps, tolerance)


@dataclass(frozen=True, slots=True)
class IntegratedGradients:
    """Made by ``integrated_gradients``.

    Args:
        baseline: Where the way begins.
        steps: Pieces of the way, at first.
        tolerance: Of completeness.
    """

    baseline: Baseline
    steps: int
    tolerance: float

    def reference(self, inputs: Tensor) -> Tensor:
        """The baseline of each input."""
        return self.baseline.of(inputs)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Integrate, with more points where the gradient jumps."""
        start = self.reference(inputs)
        gains = scores(model, inputs, targets=targets) - scores(model, start, targets=targets)
        allowed = self.tolerance * gains.abs().clamp_min(LEAST_GAIN)
        return Way(model, start, inputs, targets).integrate(steps=self.steps, allowed=allowed)


def relative_errors(attributions: Tensor, gains: Tensor) -> Tensor:
    """How far each example's attributions are from adding up to its gain in score, ``[B]``.

    Args:
        attributions: Of the inputs' shape.
        gains: Score less that of the baseline, ``[B]``.
    """
    sums = attributions.flatten(1).double().sum(1)
    return (sums - gains).abs() / gains.double().abs().clamp_min(LEAST_GAIN)
