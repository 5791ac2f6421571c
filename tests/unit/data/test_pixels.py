"""Each batched operation against torchvision's, one image after the other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from nnray.data import pixels

SIZES = st.tuples(st.integers(1, 6), st.sampled_from([1, 3]), st.integers(2, 9), st.integers(2, 9))


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    # Some grey, black and white pixels: the corners of HSV.
    x[0, :, 0] = x[0, :1, 0]
    x[-1, :, -1, 0], x[-1, :, -1, 1] = 0.0, 1.0
    return x


def draws(count: int, low: float, high: float, seed: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(count, generator=torch.Generator().manual_seed(seed + 1))


def one_by_one(x: torch.Tensor, function: str, *values: torch.Tensor, **kwargs: object) -> torch.Tensor:
    apply = getattr(oracle, function)
    rows = zip(*(value.tolist() for value in values), strict=True)
    return torch.stack([apply(image, *row, **kwargs) for image, row in zip(x, rows, strict=True)])


@given(shape=SIZES, padding=st.integers(0, 4), seed=st.integers(0, 999), reflect=st.booleans())
def test_shift_is_pad_and_crop(shape: tuple[int, ...], padding: int, seed: int, reflect: bool) -> None:
    x, (b, _, h, w) = drawn(shape, seed), shape
    if reflect and padding >= min(h, w):
        return
    top, left = torch.randint(2 * padding + 1, (2, b), generator=torch.Generator().manual_seed(seed))
    ours = pixels.shift(x, top_B=top, left_B=left, padding=padding, edge="reflect" if reflect else "zeros")
    padded = oracle.pad(x, [padding] * 4, padding_mode="reflect" if reflect else "constant")
    theirs = [
        oracle.crop(image, t, s, h, w)
        for image, t, s in zip(padded, top.tolist(), left.tolist(), strict=True)
    ]
    assert torch.equal(ours, torch.stack(theirs))


@given(shape=SIZES, seed=st.integers(0, 999))
def test_mirror_flips_the_chosen(shape: tuple[int, ...], seed: int) -> None:
    x = drawn(shape, seed)
    chosen = draws(len(x), 0, 1, seed) < 0.5
    for axis, flip in ((-1, oracle.horizontal_flip), (-2, oracle.vertical_flip)):
        theirs = torch.stack([flip(i) if c else i for i, c in zip(x, chosen.tolist(), strict=True)])
        assert torch.equal(pixels.mirror(x, chosen_B=chosen, axis=axis), theirs)


@given(shape=SIZES, seed=st.integers(0, 999))
def test_rotate_turns_each_by_its_angle(shape: tuple[int, ...], seed: int) -> None:
    x, angles = drawn(shape, seed), draws(shape[0], -180, 180, seed)
    theirs = one_by_one(x, "rotate", angles, interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(pixels.rotate(x, degrees_B=angles), theirs, rtol=0, atol=2e-4)


def test_rotate_by_a_right_angle_is_exact_on_squares() -> None:
    x = drawn((2, 3, 6, 6), 0)
    ours = pixels.rotate(x, degrees_B=torch.tensor([90.0, 0.0]))
    torch.testing.assert_close(ours[0], x[0].rot90(1, (1, 2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours[1], x[1], rtol=0, atol=1e-6)


@given(shape=SIZES, seed=st.integers(0, 999), value=st.sampled_from([0.0, 0.5]))
def test_erase_fills_each_box(shape: tuple[int, ...], seed: int, value: float) -> None:
    x, (b, _, h, w) = drawn(shape, seed), shape
    rng = torch.Generator().manual_seed(seed)
    size = torch.tensor([h, w, h, w])
    boxes = (torch.rand(b, 4, generator=rng) * size).long()
    theirs = [
        oracle.erase(image, i, j, high, wide, torch.tensor(value))
        for image, (i, j, high, wide) in zip(x, boxes.tolist(), strict=True)
    ]
    assert torch.equal(pixels.erase(x, box_B4=boxes, value=value), torch.stack(theirs))


@pytest.mark.parametrize(
    ("ours", "key", "theirs", "low", "high"),
    [
        (pixels.brighten, "factor_B", "adjust_brightness", 0.0, 2.0),
        (pixels.contrast, "factor_B", "adjust_contrast", 0.0, 2.0),
        (pixels.saturate, "factor_B", "adjust_saturation", 0.0, 2.0),
        (pixels.turn_hue, "by_B", "adjust_hue", -0.5, 0.5),
    ],
)
@given(shape=SIZES, seed=st.integers(0, 999))
def test_colours_are_those_of_torchvision(
    ours: object, key: str, theirs: str, low: float, high: float, shape: tuple[int, ...], seed: int
) -> None:
    assert callable(ours)
    x, factors = drawn(shape, seed), draws(shape[0], low, high, seed)
    expected = one_by_one(x, theirs, factors)
    torch.testing.assert_close(ours(x, **{key: factors}), expected, rtol=0, atol=2e-5)


def test_neutral_factors_change_nothing() -> None:
    x, one = drawn((4, 3, 5, 6), 3), torch.ones(4)
    for change in (pixels.brighten, pixels.contrast, pixels.saturate):
        torch.testing.assert_close(change(x, factor_B=one), x, rtol=0, atol=1e-7)
    torch.testing.assert_close(pixels.turn_hue(x, by_B=0 * one), x, rtol=0, atol=1e-6)


def test_arguments_are_left_as_they_were() -> None:
    x, one = drawn((4, 3, 5, 6), 4), torch.full((4,), 0.5)
    before = x.clone()
    index = torch.ones(4, dtype=torch.int64)
    pixels.shift(x, top_B=index, left_B=index, padding=2)
    pixels.mirror(x, chosen_B=index > 0)
    pixels.rotate(x, degrees_B=30 * one)
    pixels.erase(x, box_B4=index[:, None].expand(4, 4))
    for change in (pixels.brighten, pixels.contrast, pixels.saturate):
        change(x, factor_B=one)
    pixels.turn_hue(x, by_B=one)
    assert torch.equal(x, before)


def test_layout_of_the_images_makes_no_difference() -> None:
    x = drawn((4, 3, 5, 6), 5)
    by_pixel = x.contiguous(memory_format=torch.channels_last)
    index, half = torch.tensor([0, 1, 2, 4]), torch.full((4,), 0.5)
    for change in (
        lambda v: pixels.shift(v, top_B=index, left_B=index, padding=2),
        lambda v: pixels.mirror(v, chosen_B=index > 1),
        lambda v: pixels.rotate(v, degrees_B=30 * half),
        lambda v: pixels.contrast(v, factor_B=half),
        lambda v: pixels.turn_hue(v, by_B=half),
    ):
        torch.testing.assert_close(change(by_pixel), change(x))
