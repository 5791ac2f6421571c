"""What an attacker may do to an input: how far it may move it, in which norm, and within which box.

Images move within 0 to 1, by pixel values. Vectors have no box, and move in units of each feature's standard
deviation in the training split, so that one epsilon means the same for all of them. A missing value stays so.

Legend: B batch, ... the shape of an input. A delta is a move in those units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from nnray.data.splits import DataInfo

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Space:
    """The inputs of a data set, as an attacker moves them.

    Args:
        scale: One unit of each feature, ``[F]``; None where that is 1.
        box: Least and largest value; None for no bounds.
    """

    scale: Tensor | None = None
    box: tuple[float, float] | None = None

    @property
    def units(self) -> str:
        """What an epsilon is measured in."""
        return "pixel values, 0 to 1" if self.box else "standard deviations of each feature"

    def moved(self, inputs: Tensor, delta: Tensor) -> Tensor:
        """The inputs moved by ``delta``, cut off at the box."""
        moved = inputs + (delta if self.scale is None else delta * self._scale(inputs))
        return moved if self.box is None else moved.clamp(*self.box)

    def delta(self, inputs: Tensor, moved: Tensor) -> Tensor:
        """The move between two; 0 where a value is missing."""
        apart = moved - inputs
        apart = apart if self.scale is None else apart / self._scale(inputs)
        return apart if self.box else apart.nan_to_num(0.0)

    def clip(self, inputs: Tensor, delta: Tensor) -> Tensor:
        """The part of a move that stays in the box, and moves no missing value."""
        if self.box is None:
            return torch.where(inputs.isnan(), torch.zeros_like(delta), delta)
        return inputs.add(delta).clamp_(*self.box).sub_(inputs)

    def _scale(self, inputs: Tensor) -> Tensor:
        assert self.scale is not None
        return self.scale.to(inputs.device, inputs.dtype)


def space_of(info: DataInfo) -> Space:
    """The space of a data set's inputs."""
    if len(info.input_shape) == 3:
        return Space(box=(0.0, 1.0))
    return Space(scale=torch.tensor(info.std or [1.0] * info.input_shape[0]))


def norms(delta: Tensor, norm: Norm) -> Tensor:
    """The norm of each example's move, ``[B]``."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else torch.linalg.vector_norm(flat, dim=1)


def project(delta: Tensor, *, epsilon: float, norm: Norm) -> Tensor:
    """The nearest move whose norm is at most ``epsilon``."""
    if norm == "linf":
        return delta.clamp(-epsilon, epsilon)
    length = norms(delta, norm).clamp_min(torch.finfo(delta.dtype).tiny)
    return delta * _wide((epsilon / length).clamp_max(1.0), delta)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The move of norm 1 along which a function with this gradient grows fastest; 0 where that is 0."""
    if norm == "linf":
        return gradient.sign()
    # A gradient of 1e-30 still has a direction, and its square no place in float32.
    scaled = gradient / _wide(norms(gradient, "linf").clamp_min(torch.finfo(gradient.dtype).tiny), gradient)
    return scaled / _wide(norms(scaled, norm).clamp_min(1e-12), gradient)


def random_move(inputs: Tensor, *, epsilon: float, norm: Norm, rng: Generator) -> Tensor:
    """A move drawn evenly from the ball; drawn on the CPU, so that a GPU gets the same."""
    if norm == "linf":
        return (torch.rand(inputs.shape, generator=rng) * 2 - 1).mul_(epsilon).to(inputs)
    way = torch.randn(inputs.shape, generator=rng)
    size = inputs[0].numel()
    radius = epsilon * torch.rand(len(inputs), generator=rng) ** (1 / size)
    return (steepest(way, norm) * _wide(radius, way)).to(inputs)


def kept_within(inputs: Tensor, moved: Tensor, *, epsilon: float, norm: Norm, space: Space) -> Tensor:
    """The same, but never a rounding error out of the box or beyond ``epsilon``, measured in float64."""
    moved = moved if space.box is None else moved.clamp(*space.box)
    if math.isinf(epsilon):
        return moved
    for _ in range(_TRIES):
        over = _overshoot(inputs, moved, epsilon=epsilon, norm=norm, space=space)
        if not bool(over.any()):
            return moved
        moved = torch.where(over, _nearer(inputs, moved, norm), moved)
    over = _overshoot(inputs, moved, epsilon=epsilon, norm=norm, space=space)
    return torch.where(over, inputs, moved)


def exact_norms(inputs: Tensor, moved: Tensor, *, norm: Norm, space: Space) -> Tensor:
    """How far each example has been moved, ``[B]``, in float64 where the device has it."""
    return norms(_exact_delta(inputs, moved, space), norm)


def _exact_delta(inputs: Tensor, moved: Tensor, space: Space) -> Tensor:
    wide = torch.float32 if inputs.device.type == "mps" else torch.float64
    return space.delta(inputs.to(wide), moved.to(wide))


def _overshoot(inputs: Tensor, moved: Tensor, *, epsilon: float, norm: Norm, space: Space) -> Tensor:
    delta = _exact_delta(inputs, moved, space)
    if norm == "linf":
        return delta.abs() > epsilon
    return _wide(norms(delta, norm) > epsilon, moved).expand_as(moved)


def _nearer(inputs: Tensor, moved: Tensor, norm: Norm) -> Tensor:
    if norm == "linf":
        return moved.nextafter(inputs)
    return inputs + (moved - inputs) * (1 - 1e-6)


def _wide(values_B: Tensor, like: Tensor) -> Tensor:
    return values_B.view(-1, *[1] * (like.ndim - 1))
