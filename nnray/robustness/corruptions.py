"""The corruptions that ship: noise, blur, light, shifts and storage; each image in a way of its own.

Each takes its five levels as a key. All draws come from the generator that it is given, on the CPU.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from nnray.data import pixels
from nnray.fields import Fraction, NonNegative, Positive
from nnray.robustness.corruption import Corruption

Shares = tuple[Fraction, Fraction, Fraction, Fraction, Fraction]
Sizes = tuple[NonNegative, NonNegative, NonNegative, NonNegative, NonNegative]
Counts = tuple[Positive, Positive, Positive, Positive, Positive]
Quality = Annotated[float, Field(ge=1, le=95)]
Qualities = tuple[Quality, Quality, Quality, Quality, Quality]


def gaussian_noise(*, levels: Sizes = (0.05, 0.1, 0.15, 0.2, 0.3)) -> Corruption:
    """Normal noise on every value.

    Args:
        levels: Its standard deviation.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        return x + level * torch.randn(x.shape, generator=rng).to(x)

    return Corruption(change, levels)


def shot_noise(*, levels: Counts = (60.0, 25.0, 12.0, 7.0, 4.0)) -> Corruption:
    """Poisson noise, as of few photons.

    Args:
        levels: Photons of a white value: the fewer, the worse.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        return (torch.poisson(x.cpu() * level, generator=rng) / level).to(x)

    return Corruption(change, levels)


def impulse_noise(*, levels: Shares = (0.02, 0.05, 0.1, 0.15, 0.25)) -> Corruption:
    """Values that are lost: black or white.

    Args:
        levels: The share of values.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        drawn = torch.rand(x.shape, generator=rng).to(x)
        white = torch.rand(x.shape, generator=rng).to(x) < 0.5
        return torch.where(drawn < level, white.to(x), x)

    return Corruption(change, levels)


def gaussian_blur(*, levels: Sizes = (0.5, 0.75, 1.0, 1.5, 2.0)) -> Corruption:
    """A lens out of focus.

    Args:
        levels: Standard deviation of the blur, in pixels.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        reach = max(1, math.ceil(3 * level))
        places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        weights = torch.exp(-0.5 * (places / level).square()) if level else (places == 0).to(x)
        weights = weights / weights.sum()
        return _convolved(_convolved(x, weights[:, None]), weights[None])

    return Corruption(change, levels)


def motion_blur(*, levels: Sizes = (2.0, 3.0, 4.0, 6.0, 8.0)) -> Corruption:
    """A camera that moves, each image along a direction of its own.

    Args:
        levels: Length of the way, in pixels.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        angle_B = torch.rand(len(x), generator=rng).to(x) * math.pi
        steps = 2 * math.ceil(level) + 1
        along = [level * (step / (steps - 1) - 0.5) for step in range(steps)] if level else [0.0]
        shifted = [_moved(x, right_B=at * angle_B.cos(), down_B=at * angle_B.sin()) for at in along]
        return torch.stack(shifted).mean(0)

    return Corruption(change, levels)


def brightness(*, levels: Sizes = (0.1, 0.2, 0.3, 0.4, 0.5)) -> Corruption:
    """More light on all of an image.

    Args:
        levels: What is added to every value.
    """
    return Corruption(lambda x, level, rng: x + level, levels)


def contrast(*, levels: Shares = (0.75, 0.5, 0.4, 0.3, 0.15)) -> Corruption:
    """Values nearer to the mean of their image.

    Args:
        levels: The share of the contrast that is left.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        mean = x.mean((1, 2, 3), keepdim=True)
        return mean + level * (x - mean)

    return Corruption(change, levels)


def translate(*, levels: Sizes = (1.0, 2.0, 3.0, 4.0, 5.0)) -> Corruption:
    """Images shifted, each along a direction of its own; bilinear, black where nothing was.

    Args:
        levels: How far, in pixels.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        angle_B = torch.rand(len(x), generator=rng).to(x) * 2 * math.pi
        return _moved(x, right_B=level * angle_B.cos(), down_B=level * angle_B.sin(), edge="zeros")

    return Corruption(change, levels)


def rotate(*, levels: Sizes = (8.0, 15.0, 22.0, 30.0, 40.0)) -> Corruption:
    """Images turned about their centre, one way or the other; bilinear, black corners.

    Args:
        levels: By how many degrees.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        way_B = torch.randint(2, (len(x),), generator=rng) * 2 - 1
        return pixels.rotate(x, degrees_B=level * way_B)

    return Corruption(change, levels)


def pixelate(*, levels: Shares = (0.75, 0.6, 0.4, 0.3, 0.2)) -> Corruption:
    """Images shrunk, and blown up again.

    Args:
        levels: The share of each side that is left in between.
    """

    def change(x: Tensor, level: float, rng: Generator) -> Tensor:
        height, width = (max(1, round(side * level)) for side in x.shape[-2:])
        small = functional.adaptive_avg_pool2d(x, (height, width))
        return functional.interpolate(small, x.shape[-2:], mode="nearest")

    return Corruption(change, levels)


def jpeg(*, levels: Qualities = (50.0, 30.0, 18.0, 10.0, 5.0)) -> Corruption:
    """Images stored as JPEG; as colours where there are three channels, else channel by channel.

    Args:
        levels: Pillow's quality, 1 to 95, rounded.
    """
    return Corruption(lambda x, level, rng: _jpeg(x, round(level)), levels)


def _jpeg(x: Tensor, quality: int) -> Tensor:
    levels = (x.cpu() * 255).round().byte()
    planes = levels.permute(0, 2, 3, 1) if x.shape[1] == 3 else levels.flatten(0, 1)
    stored = np.stack([_stored(plane, quality) for plane in planes.numpy()])
    images = torch.from_numpy(stored).to(x).div(255)
    return images.permute(0, 3, 1, 2).contiguous() if x.shape[1] == 3 else images.view_as(x)


def _stored(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _convolved(x: Tensor, weights: Tensor) -> Tensor:
    """Every channel convolved alike; edges are repeated."""
    channels, (high, wide) = x.shape[1], weights.shape
    padded = functional.pad(x, [wide // 2, wide // 2, high // 2, high // 2], mode="replicate")
    return functional.conv2d(padded, weights.expand(channels, 1, high, wide), groups=channels)


def _moved(x: Tensor, *, right_B: Tensor, down_B: Tensor, edge: str = "border") -> Tensor:
    """Each image moved by its own part of pixels, bilinear."""
    b, _, h, w = x.shape
    theta = torch.zeros(b, 2, 3, dtype=x.dtype, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    theta[:, 0, 2], theta[:, 1, 2] = -right_B * 2 / w, -down_B * 2 / h
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    sampled: Callable[..., Tensor] = partial(functional.grid_sample, mode="bilinear", align_corners=False)
    return sampled(x, grid, padding_mode=edge)
