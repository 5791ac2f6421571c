"""Augmentation of batches; every example is changed in a way of its own.

torchvision's v2 transforms draw one parameter for a whole batch, so its RandomCrop or ColorJitter
would move or tint 64 images alike. Those are done here on the batch with a parameter for each
example (see ``pixels``); MixUp and CutMix, which are of a batch by definition, are torchvision's own.

Masks and boxes go along with a crop or a flip (see ``augment_targets``); what would part them from
their image is refused.

Each entry takes the data's info and returns a function of inputs, targets and a seeded generator.
All draws come from that generator, on the CPU, so a GPU gets the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from nnray.data import augment_targets, pixels
from nnray.data.batches import Augmentation
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError, Problem
from nnray.fields import Fraction, NonNegative, NonNegativeInt, Positive

_TRIES = 10


def crop(
    info: DataInfo, *, padding: NonNegativeInt = 4, edge: Literal["zeros", "reflect"] = "zeros"
) -> Augmentation:
    """Pad each image and cut the old size out at a random place; masks and boxes move along.

    Args:
        padding: Pixels to pad with on each side.
        edge: Pad with zeros, or with the image reflected.
    """
    _, height, width = _image_shape(info, "crop")
    if edge == "reflect" and padding >= min(height, width):
        allowed = f"0 to {min(height, width) - 1} for images of {height} x {width}"
        raise _wrong(f"crop: a reflected padding of {padding} is too large; allowed: {allowed}")
    if edge == "reflect":
        augment_targets.require_no_boxes(info, "crop: edge reflect shows objects anew (set it to zeros)")

    def apply(inputs: Tensor, targets: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        top, left = torch.randint(2 * padding + 1, (2, len(inputs)), generator=rng).to(inputs.device)
        place: dict[str, Any] = {"top_B": top, "left_B": left, "padding": padding, "edge": edge}
        return pixels.shift(inputs, **place), augment_targets.shifted(targets, info, **place)

    return apply


def flip(
    info: DataInfo, *, p: Fraction = 0.5, direction: Literal["horizontal", "vertical"] = "horizontal"
) -> Augmentation:
    """Mirror images, and their masks or boxes.

    Args:
        p: Chance of each image.
        direction: Swap left and right, or top and bottom.
    """
    _image_shape(info, "flip")
    axis = -1 if direction == "horizontal" else -2

    def apply(inputs: Tensor, targets: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        chosen = (torch.rand(len(inputs), generator=rng) < p).to(inputs.device)
        mirrored = augment_targets.mirrored(targets, info, chosen_B=chosen, axis=axis)
        return pixels.mirror(inputs, chosen_B=chosen, axis=axis), mirrored

    return apply


def rotation(info: DataInfo, *, degrees: Annotated[float, Field(ge=0, le=180)] = 10.0) -> Augmentation:
    """Turn each image about its centre by an angle drawn evenly; bilinear, black corners.

    Args:
        degrees: Largest angle, either way.
    """
    _image_shape(info, "rotation")
    augment_targets.require_unplaced(info, "rotation")

    def on_images(x: Tensor, rng: Generator) -> Tensor:
        return pixels.rotate(x, degrees_B=_uniform(-degrees, degrees, x, rng)) if degrees else x

    return _of_inputs(on_images)


def color(
    info: DataInfo,
    *,
    brightness: NonNegative = 0.2,
    contrast: NonNegative = 0.2,
    saturation: NonNegative = 0.2,
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
) -> Augmentation:
    """Change brightness, contrast, saturation and hue of each image; grey ones keep the last two.

    Always in this order, unlike torchvision's ColorJitter, which draws the order for each image.

    Args:
        brightness: Factor is drawn from 1 - brightness (at least 0) to 1 + brightness.
        contrast: Likewise.
        saturation: Likewise.
        hue: Turn is drawn from -hue to hue, as a share of the colour circle.
    """
    channels = _image_shape(info, "color")[0]
    if channels not in (1, 3):
        raise _wrong(f"color: needs 1 or 3 channels, {info.name} has {channels}")

    def on_images(x: Tensor, rng: Generator) -> Tensor:
        if brightness:
            x = pixels.brighten(x, factor_B=_uniform(max(0, 1 - brightness), 1 + brightness, x, rng))
        if contrast:
            x = pixels.contrast(x, factor_B=_uniform(max(0, 1 - contrast), 1 + contrast, x, rng))
        if saturation:
            x = pixels.saturate(x, factor_B=_uniform(max(0, 1 - saturation), 1 + saturation, x, rng))
        return pixels.turn_hue(x, by_B=_uniform(-hue, hue, x, rng)) if hue else x

    return _of_inputs(on_images)


def erasing(
    info: DataInfo,
    *,
    p: Fraction = 0.25,
    scale: tuple[Fraction, Fraction] = (0.02, 0.33),
    ratio: tuple[Positive, Positive] = (0.3, 3.3),
    value: Fraction = 0.0,
) -> Augmentation:
    """Fill a random rectangle of an image; as torchvision's RandomErasing, but of each image its own.

    Args:
        p: Chance of each image.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest ratio of height to width, drawn evenly in the logarithm.
        value: To fill with.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2017.
    """
    _, height, width = _image_shape(info, "erasing")
    augment_targets.require_unplaced(info, "erasing")
    for key, (low, high) in {"scale": scale, "ratio": ratio}.items():
        if low > high:
            raise _wrong(f"erasing: {key} is [{low:g}, {high:g}]; the smaller value comes first")

    def on_images(x: Tensor, rng: Generator) -> Tensor:
        boxes = _boxes(len(x), height, width, scale=scale, ratio=ratio, rng=rng)
        boxes[torch.rand(len(x), generator=rng) >= p] = 0
        return pixels.erase(x, box_B4=boxes, value=value)

    return _of_inputs(on_images)


def mixup(info: DataInfo, *, alpha: Positive = 0.2, p: Fraction = 1.0) -> Augmentation:
    """Blend each example of a batch, and its label, with its neighbour's; one ratio for the batch.

    Args:
        alpha: Of the Beta distribution of the ratio; larger blends more.
        p: Chance of each batch.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.
    """
    if info.vocabulary:
        raise _wrong(f"mixup: ids of tokens, as of {info.name}, can't be blended; remove it")
    augment_targets.require_class(info, "mixup")
    return _of_batch(_v2("mixup").MixUp(alpha=alpha, num_classes=info.num_classes), p)


def cutmix(info: DataInfo, *, alpha: Positive = 1.0, p: Fraction = 1.0) -> Augmentation:
    """Paste a rectangle of its neighbour into each image of a batch; labels mix by area.

    Args:
        alpha: Of the Beta distribution of the area.
        p: Chance of each batch.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers", 2019.
    """
    _image_shape(info, "cutmix")
    augment_targets.require_class(info, "cutmix")
    return _of_batch(_v2("cutmix").CutMix(alpha=alpha, num_classes=info.num_classes), p)


def _image_shape(info: DataInfo, name: str) -> tuple[int, int, int]:
    if len(info.input_shape) != 3:
        shape = list(info.input_shape)
        raise _wrong(f"{name}: needs images [C, H, W], {info.name} has examples of shape {shape}; remove it")
    channels, height, width = info.input_shape
    return channels, height, width


def _wrong(problem: str) -> DataError:
    return DataError(f"data.augment: {problem}")


def _v2(name: str) -> Any:
    # Takes seconds to import, so only where it is used.
    try:
        from torchvision.transforms import v2
    except ImportError as error:
        problem = Problem("", f"{name} needs torchvision ({error}): pip install torchvision")
        raise ConfigError("data.augment", [problem]) from error
    return v2


def _of_inputs(on_images: Callable[[Tensor, Generator], Tensor]) -> Augmentation:
    def apply(inputs: Tensor, targets: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        return on_images(inputs, rng), targets

    return apply


def _of_batch(transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], p: float) -> Augmentation:
    def apply(inputs: Tensor, targets: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        if float(torch.rand((), generator=rng)) >= p:
            return inputs, targets
        images = inputs if inputs.ndim == 4 else inputs[:, :, None, None]
        with _drawn_from(rng):
            mixed, soft = transform(images, targets)
        return mixed.view(inputs.shape), soft

    return apply


@contextmanager
def _drawn_from(rng: Generator) -> Iterator[None]:
    """Have torch's own CPU generator, which torchvision draws from, stand in for ``rng``."""
    common = torch.default_generator
    before = common.get_state()
    common.set_state(rng.get_state())
    try:
        yield
        rng.set_state(common.get_state())
    finally:
        common.set_state(before)


def _uniform(low: float, high: float, x: Tensor, rng: Generator) -> Tensor:
    return (low + (high - low) * torch.rand(len(x), generator=rng)).to(x.device)


def _boxes(
    count: int,
    height: int,
    width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: Generator,
) -> Tensor:
    """A rectangle for each image: the first of ten tries that is smaller than the image, else none."""
    u = torch.rand(4, _TRIES, count, generator=rng)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * u[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * u[1]).exp()
    high_, wide = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (high_ < height) & (wide < width)
    top, left = (u[2] * (height - high_ + 1)).floor(), (u[3] * (width - wide + 1)).floor()
    tries = torch.stack([top, left, high_, wide], dim=-1) * fits[..., None]
    first = fits.int().argmax(0)
    return tries[first, torch.arange(count)].long()
