"""Laws that every augmentation of the catalog obeys."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray.catalog import CATALOG
from nnray.data.batches import Augmentation, Batches
from nnray.data.splits import DataInfo, Examples

AUGMENTATIONS = sorted(CATALOG["augmentation"])
OF_A_BATCH = ("mixup", "cutmix")
NEUTRAL: dict[str, dict[str, Any]] = {
    "crop": {"padding": 0},
    "flip": {"p": 0.0},
    "rotation": {"degrees": 0.0},
    "color": {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
    "erasing": {"p": 0.0},
    "mixup": {"p": 0.0},
    "cutmix": {"p": 0.0},
    "word_dropout": {"p": 0.0},
    "word_swap": {"p": 0.0},
}
STRONG: dict[str, dict[str, Any]] = {
    "flip": {"p": 0.5},
    "rotation": {"degrees": 90.0},
    "color": {"brightness": 0.9, "contrast": 0.9, "saturation": 0.9, "hue": 0.5},
    "erasing": {"p": 0.9},
    "word_dropout": {"p": 0.5},
    "word_swap": {"p": 0.9},
}
OF_TOKENS = {"word_dropout", "word_swap"}
VOCABULARY = 20
SHAPES = [(1, 8, 8), (3, 9, 6)]

pytestmark = pytest.mark.parametrize("name", AUGMENTATIONS)


def info(shape: tuple[int, ...], name: str = "") -> DataInfo:
    if name in OF_TOKENS:
        return DataInfo("made up", (math.prod(shape),), ("a", "b", "c"), vocabulary=VOCABULARY)
    return DataInfo("made up", shape, ("a", "b", "c"))


def make(name: str, shape: tuple[int, ...], **kwargs: Any) -> Augmentation:
    module, _, function = CATALOG["augmentation"][name].partition(":")
    augmentation: Augmentation = getattr(import_module(module), function)(info(shape, name), **kwargs)
    return augmentation


def batch(
    size: int, shape: tuple[int, ...], seed: int = 0, *, name: str = ""
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of the shape, or texts of as many places, a fifth of them filled up."""
    rng = torch.Generator().manual_seed(seed)
    if name in OF_TOKENS:
        ids = torch.randint(1, VOCABULARY, (size, math.prod(shape)), generator=rng)
        ids[:, int(0.8 * ids.shape[1]) :] = 0
        return ids, torch.randint(3, (size,), generator=rng)
    return torch.rand(size, *shape, generator=rng), torch.randint(3, (size,), generator=rng)


def same(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=25)
@given(
    size=st.integers(1, 9), shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**32), strong=st.booleans()
)
def test_shape_type_and_range_are_kept(name: str, size: int, shape: Any, seed: int, strong: bool) -> None:
    inputs, targets = batch(size, shape, seed, name=name)
    apply = make(name, shape, **(STRONG.get(name, {}) if strong else {}))
    new, labels = apply(inputs, targets, torch.Generator().manual_seed(seed))
    assert (new.shape, new.dtype, len(labels)) == (inputs.shape, inputs.dtype, size)
    assert new.isfinite().all()
    assert new.min() >= -1e-6
    assert new.max() <= (VOCABULARY - 1 if name in OF_TOKENS else 1 + 1e-6)


@settings(max_examples=25)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**32))
def test_same_seed_gives_the_same_and_another_gives_another(name: str, shape: Any, seed: int) -> None:
    inputs, targets = batch(32, shape, name=name)
    apply = make(name, shape, **STRONG.get(name, {}))
    once = apply(inputs, targets, torch.Generator().manual_seed(seed))
    assert same(once, apply(inputs, targets, torch.Generator().manual_seed(seed)))
    others = [apply(inputs, targets, torch.Generator().manual_seed(seed + k)) for k in range(1, 6)]
    assert not all(same(once, other) for other in others)


def test_neutral_parameters_change_nothing(name: str) -> None:
    given_batch = batch(16, SHAPES[1], name=name)
    assert same(make(name, SHAPES[1], **NEUTRAL[name])(*given_batch, torch.Generator()), given_batch)


def test_what_was_given_is_not_changed(name: str) -> None:
    given_batch, kept = batch(16, SHAPES[1], name=name), batch(16, SHAPES[1], name=name)
    make(name, SHAPES[1], **STRONG.get(name, {}))(*given_batch, torch.Generator())
    assert same(given_batch, kept)


def test_random_state_of_torch_is_left_alone(name: str) -> None:
    apply = make(name, SHAPES[1])
    before = torch.get_rng_state()
    apply(*batch(16, SHAPES[1], name=name), torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())


def test_equal_images_come_out_different_unless_it_is_of_a_batch(name: str) -> None:
    image, _ = batch(1, SHAPES[1], name=name)
    copies = image.repeat(64, *[1] * (image.ndim - 1))
    new, _ = make(name, SHAPES[1], **STRONG.get(name, {}))(copies, torch.zeros(64).long(), torch.Generator())
    assert (len(new.unique(dim=0)) == 1) == (name in OF_A_BATCH)


def test_labels_are_kept_or_become_probabilities(name: str) -> None:
    inputs, targets = batch(16, SHAPES[1], name=name)
    _, labels = make(name, SHAPES[1])(inputs, targets, torch.Generator())
    if name in OF_A_BATCH:
        assert labels.shape == (16, 3)
        assert labels.min() >= 0
        torch.testing.assert_close(labels.sum(1), torch.ones(16))
    else:
        assert torch.equal(labels, targets)


@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_take_it(name: str, channels_last: bool) -> None:
    inputs, targets = batch(20, SHAPES[1], name=name)
    examples = Examples(inputs if name in OF_TOKENS else (255 * inputs).byte(), targets)
    apply = make(name, SHAPES[1])
    batches = Batches(examples, batch_size=8, shuffle=True, augment=[apply], channels_last=channels_last)
    for once, again in zip(batches.epoch(1), batches.epoch(1), strict=True):
        assert same(once, again)
        assert once[0].is_contiguous(
            memory_format=torch.channels_last
            if channels_last and name not in OF_TOKENS
            else torch.contiguous_format
        )
