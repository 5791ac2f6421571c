"""The Square Attack: random squares, kept where they help. It needs outputs only.

A network whose gradients are of no use, because they vanish or are noise, looks robust to attacks that follow
them. This one doesn't: where it breaks more than they do, their figures mean nothing.

Source: Andriushchenko et al. 2020, algorithms 1 and 2 (linf), with the schedule of their code: the share of
pixels that change halves at 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the queries.
Departure: of vectors, which have no squares, a random set of features changes.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from nnray.fields import Fraction, PositiveInt
from nnray.robustness.attack import Attack
from nnray.robustness.space import Norm, Space

_HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square(*, queries: PositiveInt = 1000, share: Fraction = 0.8) -> Attack:
    """A random search over squares of pixels, each channel moved by epsilon up or down; linf.

    Args:
        queries: Forward passes of an example, at most; one that is wrong takes no more.
        share: Of the pixels that change at first.
    """

    def perturb(
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        epsilon: float,
        norm: Norm,
        space: Space,
        rng: Generator,
    ) -> Tensor:
        delta = _stripes(inputs, rng) * epsilon
        margins = _margins(model, space.moved(inputs, delta), targets)
        # The input itself counts as the first query: no search may end with more margin than it had.
        clean = _margins(model, inputs, targets)
        delta[clean <= margins] = 0
        margins = torch.minimum(margins, clean)
        for query in range(queries - 2):
            active = (margins >= 0).nonzero()[:, 0]
            if not len(active):
                break
            tried = _changed(delta[active], epsilon=epsilon, share=_share_at(query / queries, share), rng=rng)
            found = _margins(model, space.moved(inputs[active], tried), targets[active])
            better = found < margins[active]
            delta[active[better]] = tried[better]
            margins[active[better]] = found[better]
        return space.moved(inputs, delta)

    return Attack(norm="linf", perturb=perturb, is_black_box=True)


def _margins(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """How much the target's logit is above the best other one; below 0 where an example is wrong."""
    with torch.no_grad():
        outputs = model(inputs).float()
    at_target = outputs.gather(1, targets[:, None])[:, 0]
    other = outputs.scatter(1, targets[:, None], -torch.inf).amax(1)
    margins: Tensor = (at_target - other).nan_to_num(nan=-1.0)
    return margins


def _share_at(done: float, share: float) -> float:
    return share * math.pow(0.5, sum(done > at for at in _HALVED_AT))


def _signs(shape: tuple[int, ...], rng: Generator) -> Tensor:
    return torch.randint(2, shape, generator=rng).mul_(2).sub_(1).float()


def _stripes(inputs: Tensor, rng: Generator) -> Tensor:
    """A sign for each column of each channel; for each feature of a vector."""
    if inputs.ndim == 2:
        return _signs(tuple(inputs.shape), rng).to(inputs)
    b, c, h, w = inputs.shape
    return _signs((b, c, 1, w), rng).expand(b, c, h, w).to(inputs).contiguous()


def _changed(delta: Tensor, *, epsilon: float, share: float, rng: Generator) -> Tensor:
    if delta.ndim == 2:
        count = max(1, round(share * delta.shape[1]))
        order = torch.rand(delta.shape, generator=rng).argsort(1).argsort(1)
        signs = _signs(tuple(delta.shape), rng).to(delta)
        return torch.where((order < count).to(delta.device), signs * epsilon, delta)
    b, c, h, w = delta.shape
    side = max(1, min(round((share * h * w) ** 0.5), h, w))
    rows = _window(b, h, side, rng)[:, None, :, None]
    columns = _window(b, w, side, rng)[:, None, None, :]
    signs = _signs((b, c, 1, 1), rng).to(delta)
    return torch.where((rows & columns).to(delta.device), signs * epsilon, delta)


def _window(count: int, length: int, side: int, rng: Generator) -> Tensor:
    """``side`` neighbours out of ``length`` for each example, ``[B, length] bool``."""
    first = torch.randint(length - side + 1, (count, 1), generator=rng)
    place = torch.arange(length)
    return (place >= first) & (place < first + side)
