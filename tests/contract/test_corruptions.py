"""Laws that every corruption of the catalog obeys: images stay images, seeded, worse from level to level."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.catalog import CATALOG
from nnray.registry import parameters
from nnray.robustness.corruption import SEVERITIES, Corruption
from tests.unit.robustness.trained import images

CORRUPTIONS = sorted(CATALOG["corruption"])
DRAWS_NOTHING = {"gaussian_blur", "brightness", "contrast", "pixelate", "jpeg"}
NEUTRAL: dict[str, float] = {
    "gaussian_noise": 0.0, "shot_noise": 1e9, "impulse_noise": 0.0, "gaussian_blur": 0.0, "motion_blur": 0.0,
    "brightness": 0.0, "contrast": 1.0, "translate": 0.0, "rotate": 0.0, "pixelate": 1.0,
}  # fmt: skip
SHAPES = [(1, 28, 28), (3, 32, 20), (2, 16, 16)]
pytestmark = pytest.mark.parametrize("name", CORRUPTIONS)


def made(name: str, **options: Any) -> Corruption:
    module, _, function = CATALOG["corruption"][name].partition(":")
    corruption: Corruption = getattr(import_module(module), function)(**options)
    return corruption


def pictures(shape: tuple[int, ...] = SHAPES[0], count: int = 24) -> Tensor:
    """Digits, blown up: smooth, with black and white in them."""
    small = images(count).inputs.expand(-1, shape[0], -1, -1)
    return torch.nn.functional.interpolate(small, shape[1:], mode="bilinear")


def run(name: str, severity: int, *, seed: int = 0, shape: tuple[int, ...] = SHAPES[0]) -> Tensor:
    return made(name)(pictures(shape), severity, rng=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_images_stay_images(name: str, shape: tuple[int, ...]) -> None:
    for severity in SEVERITIES:
        changed = run(name, severity, shape=shape)
        assert (changed.shape, changed.dtype) == ((24, *shape), torch.float32)
        assert changed.isfinite().all()
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert not torch.equal(changed, pictures(shape))


def test_each_level_changes_images_more_than_the_one_before(name: str) -> None:
    apart = [float((run(name, severity) - pictures()).square().mean()) for severity in SEVERITIES]
    assert apart == sorted(apart)
    assert apart[4] > 1.5 * apart[0] > 0


def test_the_same_seed_gives_the_same_and_another_gives_another(name: str) -> None:
    assert torch.equal(run(name, 3), run(name, 3))
    assert torch.equal(run(name, 3), run(name, 3, seed=1)) == (name in DRAWS_NOTHING)


def test_what_was_given_and_torchs_own_generator_are_left_alone(name: str) -> None:
    given, drawn = pictures(), torch.get_rng_state()
    made(name)(given, 5, rng=torch.Generator().manual_seed(0))
    assert torch.equal(given, pictures())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_equal_images_come_out_different_where_anything_is_drawn(name: str) -> None:
    copies = pictures(count=1).expand(32, -1, -1, -1)
    changed = made(name)(copies, 5, rng=torch.Generator().manual_seed(0))
    assert (len(changed.unique(dim=0)) == 1) == (name in DRAWS_NOTHING)


def test_at_a_level_of_nothing_images_stay_as_they_are(name: str) -> None:
    if name == "jpeg":  # no quality leaves an image as it is
        same = made(name, levels=(95.0,) * 5)(pictures(), 1, rng=torch.Generator())
        torch.testing.assert_close(same, pictures(), atol=0.08, rtol=0)
        return
    same = made(name, levels=(NEUTRAL[name],) * 5)(pictures(), 1, rng=torch.Generator())
    torch.testing.assert_close(same, pictures(), atol=2e-4 if name == "shot_noise" else 1e-5, rtol=0)


def test_levels_are_its_only_key(name: str) -> None:
    known = parameters("corruption", name)
    assert list(known) == ["levels"]
    assert len(known["levels"].default) == len(SEVERITIES)
    assert known["levels"].help.endswith(".")
