"""Whether an explanation is to be trusted: does it add up, and does it depend on what the model has learnt?

Shapes: B examples, N values of an example.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnray.explainers.explainer import Complete, Explainer, scores
from nnray.explainers.gradients import relative_errors
from nnray.seeding import torch_rng

STAGES = 4
"""Parts of the layers that are redrawn one after the other."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is left of the explanations once some layers have lost what they learnt.

    Args:
        layers: How many layers were redrawn, from the output on.
        first: The name of the one nearest to the input among them.
        correlation: Mean rank correlation with the model's own explanations; NaN where one side is constant.
    """

    layers: int
    first: str
    correlation: float


def completeness_errors(
    explainer: Explainer, model: nn.Module, *, inputs: Tensor, targets: Tensor, attributions: Tensor
) -> Tensor | None:
    """How far attributions are from the gain in score, over it, ``[B]``; None where they needn't add up.

    Args:
        explainer: That made them.
        model: That was explained.
        inputs: That were explained.
        targets: The classes.
        attributions: Of the inputs' shape.
    """
    if not isinstance(explainer, Complete):
        return None
    start = explainer.reference(inputs)
    gains = scores(model, inputs, targets=targets) - scores(model, start, targets=targets)
    return relative_errors(attributions, gains)


def cascade(
    explainer: Explainer,
    model: nn.Module,
    *,
    inputs: Tensor,
    targets: Tensor,
    attributions: Tensor,
    seed: int,
) -> list[Stage]:
    """Redraw the weights from the output on, in up to four stages, and compare the explanations.

    Args:
        explainer: To be checked.
        model: Left as it is.
        inputs: Examples.
        targets: Their classes.
        attributions: The model's own explanations of them.
        seed: Of the new weights.

    Source:
        Adebayo et al. 2018, section 3.1 (cascading randomisation), by the magnitudes' Spearman correlation.
    """
    other = copy.deepcopy(model)
    layers = [(name, m) for name, m in other.named_modules() if [*m.parameters(recurse=False)]][::-1]
    stages, done = [], 0
    for stage in range(1, STAGES + 1):
        until = math.ceil(len(layers) * stage / STAGES)
        for name, layer in layers[done:until]:
            redraw(layer, seed=seed, name=name)
        if until > done:
            found = explainer(other, inputs, targets)
            correlation = rank_correlations(attributions.abs(), found.abs()).nanmean()
            stages.append(Stage(until, layers[until - 1][0], float(correlation)))
        done = until
    return stages


def redraw(layer: nn.Module, *, seed: int, name: str) -> None:
    """Replace a layer's own parameters by normal draws of the same mean and standard deviation.

    A constant parameter, such as a norm's first scale, stays constant.
    """
    with torch.no_grad():
        for key, parameter in layer.named_parameters(recurse=False):
            rng = torch_rng(seed, "redraw", name, key)
            draw = torch.randn(parameter.shape, generator=rng).to(parameter)
            parameter.copy_(parameter.mean() + parameter.std(correction=0) * draw)


def rank_correlations(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of each example's values, ``[B]``; NaN where one side is constant.

    Args:
        first: ``[B, ...]``.
        second: Of the same shape.
    """
    ranks = [ranks_of(values.flatten(1)) for values in (first, second)]
    one, two = (values - values.mean(1, keepdim=True) for values in ranks)
    products: Tensor = (one * two).sum(1) / (one.norm(dim=1) * two.norm(dim=1))
    return products


def ranks_of(values_BN: Tensor) -> Tensor:
    """The rank of each value in its row, equal ones sharing their mean rank; float64."""
    rows = []
    for values_N in values_BN:
        _, which, counts = torch.unique(values_N, return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        rows.append((last - (counts - 1) / 2)[which])
    return torch.stack(rows)
