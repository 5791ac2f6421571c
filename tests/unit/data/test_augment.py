from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch.nn.functional import one_hot
from torchvision.transforms import v2

from nnray.data import augment, pixels
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError

INFO = DataInfo("made", (3, 12, 10), ("a", "b", "c", "d"))
VECTORS = DataInfo("table", (7,), ("a", "b"))
COUNT = 400


def batch(count: int = COUNT, shape: tuple[int, ...] = INFO.input_shape) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = 0.05 + 0.9 * torch.rand(count, *shape, generator=rng)
    return x, torch.randint(4, (count,), generator=rng)


def applied(
    name: str, *, info: DataInfo = INFO, seed: int = 0, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = batch(shape=info.input_shape)
    return getattr(augment, name)(info, **kwargs)(x, y, torch.Generator().manual_seed(seed))


def test_flip_takes_about_its_share_of_examples_each_decided_alone() -> None:
    x, _ = batch()
    flipped = (applied("flip", p=0.3)[0] != x).flatten(1).any(1)
    assert 0.2 < flipped.float().mean() < 0.4
    assert torch.equal(applied("flip", p=1.0)[0], x.flip(-1))
    assert torch.equal(applied("flip", p=1.0, direction="vertical")[0], x.flip(-2))


def test_crop_reaches_every_place() -> None:
    x, _ = batch()
    ours, _ = applied("crop", padding=1)
    padded = torch.nn.functional.pad(x, [1] * 4)
    places = {(t, s): padded[:, :, t : t + 12, s : s + 10] for t in range(3) for s in range(3)}
    hits = torch.stack([(ours == cut).flatten(1).all(1) for cut in places.values()])
    assert hits.sum(0).eq(1).all()
    assert hits.sum(1).min() > COUNT / 9 / 2


def test_rotation_stays_within_its_degrees() -> None:
    drawn = augment._uniform(-10, 10, torch.zeros(COUNT), torch.Generator().manual_seed(0))
    expected = pixels.rotate(batch()[0], degrees_B=drawn)
    assert torch.equal(applied("rotation", degrees=10.0)[0], expected)
    assert drawn.abs().max() <= 10 < 1.1 * drawn.max()


def test_color_draws_factors_evenly_around_one() -> None:
    x, _ = batch()
    dim = (0.5 * x).clamp(0.02)
    rng = torch.Generator().manual_seed(1)
    ours, _ = augment.color(INFO, brightness=0.5, contrast=0, saturation=0)(dim, torch.zeros(COUNT), rng)
    factor = (ours / dim).flatten(1).median(1).values
    assert 0.5 <= factor.min() < 0.55
    assert 1.45 < factor.max() <= 1.5
    assert abs(factor.mean() - 1) < 0.05


def test_color_applies_its_parts_in_the_order_of_its_name() -> None:
    x, y = batch()
    rng = torch.Generator().manual_seed(5)
    ours, _ = augment.color(INFO, brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1)(x, y, rng)
    rng.manual_seed(5)
    expected = pixels.brighten(x, factor_B=augment._uniform(0.7, 1.3, x, rng))
    expected = pixels.contrast(expected, factor_B=augment._uniform(0.6, 1.4, x, rng))
    expected = pixels.saturate(expected, factor_B=augment._uniform(0.5, 1.5, x, rng))
    expected = pixels.turn_hue(expected, by_B=augment._uniform(-0.1, 0.1, x, rng))
    assert torch.equal(ours, expected)


def test_factor_of_a_strong_change_is_not_negative() -> None:
    assert applied("color", brightness=3.0, contrast=0, saturation=0)[0].min() >= 0


def erased(x: torch.Tensor) -> torch.Tensor:
    return x.eq(0).all(1)


def test_erasing_fills_one_rectangle_within_its_bounds() -> None:
    holes = erased(applied("erasing", p=1.0, scale=(0.1, 0.3), ratio=(0.5, 2.0))[0])
    assert holes.flatten(1).any(1).all()
    for hole in holes:
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns
        # Sides are rounded to whole pixels.
        assert 0.1 * 120 - 5 <= rows * columns <= 0.3 * 120 + 8
        assert 0.5 / 1.5 <= rows / columns <= 2 * 1.5


def test_erasing_has_the_distribution_of_torchvision() -> None:
    kwargs: dict[str, Any] = {"p": 1.0, "scale": (0.02, 0.33), "ratio": (0.3, 3.3)}
    ones, count = torch.ones(3000, *INFO.input_shape), 3000
    with torch.random.fork_rng():
        torch.manual_seed(3)
        transform = v2.RandomErasing(**kwargs)
        theirs = torch.stack([erased(transform(image)[None])[0] for image in ones]).float()
    mine = augment.erasing(INFO, **kwargs)(ones, torch.zeros(count), torch.Generator().manual_seed(3))[0]
    ours = erased(mine).float()
    # The largest distance of two empirical distributions: 0.044 is passed once in 200 (Kolmogorov, Smirnov).
    for measure in (lambda hole: hole.mean((1, 2)), lambda hole: hole.amax(2).sum(1) / hole.amax(1).sum(1)):
        levels = measure(theirs).unique()[:, None]
        gap = (measure(ours) <= levels).float().mean(1) - (measure(theirs) <= levels).float().mean(1)
        assert gap.abs().max() < 0.044
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < 0.04


def test_erasing_takes_about_its_share_of_examples() -> None:
    share = erased(applied("erasing", p=0.3)[0]).flatten(1).any(1).float().mean()
    assert 0.2 < share < 0.4


def test_rectangle_that_never_fits_erases_nothing() -> None:
    assert torch.equal(applied("erasing", p=1.0, scale=(1.0, 1.0))[0], batch()[0])


def test_erasing_fills_with_its_value() -> None:
    assert applied("erasing", p=1.0, value=1.0)[0].eq(1).any()


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_is_that_of_torchvision_from_the_generator_given(name: str) -> None:
    x, y = batch()
    transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[name](alpha=0.7, num_classes=4)
    rng = torch.Generator().manual_seed(8)
    ours = getattr(augment, name)(INFO, alpha=0.7)(x, y, rng)
    with torch.random.fork_rng():
        torch.manual_seed(8)
        torch.rand(())
        theirs = transform(x, y)
        after = torch.rand(())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert torch.equal(torch.rand((), generator=rng), after)


def test_labels_of_mixup_mix_as_the_inputs_do() -> None:
    x, y = batch()
    mixed, soft = applied("mixup", alpha=1.0)
    hard = one_hot(y, 4).float()
    ratio = ((mixed - x.roll(1, 0)) / (x - x.roll(1, 0)))[0].median()
    torch.testing.assert_close(soft, ratio * hard + (1 - ratio) * hard.roll(1, 0), rtol=0, atol=1e-3)


def test_mixup_takes_vectors() -> None:
    mixed, soft = applied("mixup", info=DataInfo("t", (7,), ("a", "b", "c", "d")))
    assert (mixed.shape, soft.shape) == ((COUNT, 7), (COUNT, 4))


def test_mixup_and_cutmix_may_follow_each_other() -> None:
    x, y = batch()
    rng = torch.Generator().manual_seed(0)
    soft = augment.cutmix(INFO)(*augment.mixup(INFO)(x, y, rng), rng)[1]
    torch.testing.assert_close(soft.sum(1), torch.ones(COUNT))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_is_decided_for_each_batch(name: str) -> None:
    apply, (x, y) = getattr(augment, name)(INFO, p=0.5), batch(8)
    mixed = [apply(x, y, torch.Generator().manual_seed(seed))[1].ndim == 2 for seed in range(100)]
    assert 30 < sum(mixed) < 70


@pytest.mark.parametrize("name", ["crop", "flip", "rotation", "color", "erasing", "cutmix"])
def test_what_is_for_images_refuses_vectors(name: str) -> None:
    with pytest.raises(
        DataError, match=rf"data\.augment: {name}: needs images \[C, H, W\], table has .*\[7\]"
    ):
        getattr(augment, name)(VECTORS)


@pytest.mark.parametrize(
    ("name", "shape", "kwargs", "problem"),
    [
        ("color", (2, 4, 4), {}, "color: needs 1 or 3 channels, made has 2"),
        (
            "crop",
            (1, 4, 5),
            {"padding": 4, "edge": "reflect"},
            r"padding of 4 .*allowed: 0 to 3 for images of 4 x 5",
        ),
        (
            "erasing",
            (1, 4, 4),
            {"scale": (0.5, 0.1)},
            r"scale is \[0\.5, 0\.1\]; the smaller value comes first",
        ),
        ("erasing", (1, 4, 4), {"ratio": (3.0, 1.0)}, r"ratio is \[3, 1\]"),
    ],
)
def test_what_does_not_fit_the_data_is_told(name: str, shape: Any, kwargs: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        getattr(augment, name)(DataInfo("made", shape, ("a", "b")), **kwargs)


def test_torchvision_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.transforms", None)
    with pytest.raises(ConfigError, match=r"mixup needs torchvision.*pip install torchvision"):
        augment.mixup(INFO)


def test_generator_of_torch_is_put_back_when_mixing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    x, y = batch()
    with pytest.raises(ValueError, match="batch size"):
        augment.mixup(INFO)(x[:3], y, torch.Generator())
    assert torch.equal(before, torch.get_rng_state())
