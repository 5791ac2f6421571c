from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data import batches as module
from nnray.data.batches import Batches
from nnray.data.splits import Examples
from nnray.errors import DataError, UserCodeError
from nnray.seeding import derive, torch_rng

Seen = list[tuple[torch.Tensor, torch.Tensor]]


def images(count: int = 50, *, seed: int = 0) -> Examples:
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 4, 5), generator=rng, dtype=torch.uint8)
    return Examples(pixels, torch.arange(count))


def slow(examples: Examples, *, batch_size: int, seed: int, epoch: int, shuffle: bool) -> Seen:
    """The oracle: one example after the other."""
    count = len(examples)
    order = (
        torch.randperm(count, generator=torch_rng(seed, "order", epoch)) if shuffle else torch.arange(count)
    )
    parts = [order[start : start + batch_size].tolist() for start in range(0, count, batch_size)]
    scale = 255 if examples.inputs.dtype == torch.uint8 else 1
    return [
        (
            torch.stack([examples.inputs[i].float() / scale for i in part]),
            torch.stack([examples.targets[i] for i in part]),
        )
        for part in parts
    ]


def same(ours: Seen, theirs: Seen) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(ours, theirs, strict=True)
    )


@given(
    count=st.integers(1, 70),
    batch_size=st.integers(1, 80),
    epoch=st.integers(0, 5),
    shuffle=st.booleans(),
    by_pixel=st.booleans(),
    block=st.sampled_from([1, 2000, 1 << 20]),
)
def test_batches_are_bit_for_bit_those_of_one_example_after_the_other(
    count: int, batch_size: int, epoch: int, shuffle: bool, by_pixel: bool, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CPU_BLOCK_BYTES", block)
        batches = Batches(
            images(count), batch_size=batch_size, seed=3, shuffle=shuffle, channels_last=by_pixel
        )
        ours = list(batches.epoch(epoch))
    assert same(ours, slow(images(count), batch_size=batch_size, seed=3, epoch=epoch, shuffle=shuffle))
    assert batches.num_batches == len(batches) == len(ours)
    assert batches.num_examples == count
    assert all(inputs.dtype == torch.float32 for inputs, _ in ours)


@pytest.mark.parametrize("shape", [(6,), (2, 3, 3)])
def test_floats_are_handed_out_as_they_are(shape: tuple[int, ...]) -> None:
    examples = Examples(torch.randn(11, *shape, generator=torch_rng(0)), torch.arange(11))
    ours = list(Batches(examples, batch_size=4, seed=1, shuffle=True).epoch(2))
    assert same(ours, slow(examples, batch_size=4, seed=1, epoch=2, shuffle=True))


def test_each_epoch_has_an_order_of_its_own_whatever_came_before() -> None:
    batches = Batches(images(), batch_size=8, seed=1, shuffle=True)
    third = list(batches.epoch(3))
    assert not same(third, list(batches.epoch(4)))
    assert same(third, list(batches.epoch(3)))
    assert same(third, list(Batches(images(), batch_size=8, seed=1, shuffle=True).epoch(3)))
    assert not same(third, list(Batches(images(), batch_size=8, seed=2, shuffle=True).epoch(3)))


def test_two_epochs_may_be_under_way_at_once() -> None:
    batches = Batches(images(), batch_size=8, seed=1, shuffle=True)
    pairs = list(zip(batches.epoch(0), batches.epoch(1), strict=True))
    assert same([a for a, _ in pairs], list(batches.epoch(0)))
    assert same([b for _, b in pairs], list(batches.epoch(1)))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_consumer_that_works_in_place_changes_neither_the_examples_nor_other_batches(
    shuffle: bool, scaled: bool
) -> None:
    examples = images() if scaled else Examples(images().inputs.float(), images().targets)
    batches = Batches(examples, batch_size=8, shuffle=shuffle)
    expected = list(batches.epoch(0))
    kept = []
    for inputs, targets in batches.epoch(0):
        kept.append((inputs.clone(), targets.clone()))
        inputs.zero_()
        targets.zero_()
    assert same(kept, expected)
    assert same(list(batches.epoch(0)), expected)


@pytest.mark.parametrize("augment", [(), (lambda x, y, rng: (x + 0, y),)])
def test_channels_last_is_a_layout_not_a_shape(augment: Any) -> None:
    for inputs, _ in Batches(images(), batch_size=8, shuffle=True, augment=augment, channels_last=True).epoch(
        0
    ):
        assert inputs.shape[1:] == (3, 4, 5)
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert not inputs.is_contiguous()


def test_vectors_have_no_layout() -> None:
    examples = Examples(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    assert next(Batches(examples, batch_size=2, channels_last=True).epoch(0))[0].shape == (2, 2)


def test_batches_are_handed_out_on_the_device_in_the_same_order() -> None:
    # The meta device has shapes and no values: enough to see that all goes there.
    on_cpu = list(Batches(images(), batch_size=8, seed=1, shuffle=True).epoch(0))
    there = list(Batches(images(), batch_size=8, seed=1, shuffle=True, device="meta").epoch(0))
    assert {part.device.type for pair in there for part in pair} == {"meta"}
    assert [x.shape for x, _ in there] == [x.shape for x, _ in on_cpu]


def noisy(inputs: torch.Tensor, targets: torch.Tensor, rng: torch.Generator) -> Any:
    return inputs + torch.rand(inputs.shape, generator=rng), targets


def test_augmentation_draws_from_seed_epoch_and_batch_alone() -> None:
    batches = Batches(images(), batch_size=8, seed=7, augment=[noisy])
    plain = list(Batches(images(), batch_size=8, seed=7).epoch(2))
    for index, (inputs, _) in enumerate(batches.epoch(2)):
        rng = torch.Generator().manual_seed(derive(7, "augment", 2, index))
        assert torch.equal(inputs, noisy(*plain[index], rng)[0])
    assert same(list(batches.epoch(2)), list(batches.epoch(2)))
    assert not same(list(batches.epoch(2)), list(batches.epoch(3)))


def test_augmentations_are_applied_in_order_with_draws_of_their_own() -> None:
    drawn = []

    def record(inputs: torch.Tensor, targets: torch.Tensor, rng: torch.Generator) -> Any:
        drawn.append(float(torch.rand((), generator=rng)))
        return inputs * 2, targets

    def add(inputs: torch.Tensor, targets: torch.Tensor, rng: torch.Generator) -> Any:
        drawn.append(float(torch.rand((), generator=rng)))
        return inputs + 1, targets

    plain = next(Batches(images(), batch_size=50).epoch(0))[0]
    both = next(Batches(images(), batch_size=50, augment=[record, add]).epoch(0))[0]
    assert torch.equal(both, plain * 2 + 1)
    assert drawn[0] != drawn[1]


def test_random_state_of_torch_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(Batches(images(), batch_size=8, shuffle=True, augment=[noisy]).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_soft_targets_of_an_augmentation_are_passed_on() -> None:
    soft = lambda x, y, rng: (x, torch.nn.functional.one_hot(y, 50).float())  # noqa: E731
    assert next(Batches(images(), batch_size=8, augment=[soft]).epoch(0))[1].shape == (8, 50)


def raising(inputs: torch.Tensor, targets: torch.Tensor, rng: torch.Generator) -> Any:
    raise KeyError("mine")


def refusing(inputs: torch.Tensor, targets: torch.Tensor, rng: torch.Generator) -> Any:
    raise DataError("told well")


@pytest.mark.parametrize(
    ("augment", "problem"),
    [
        (raising, r":raising: raised KeyError: 'mine'; expected \(inputs \[B, ...\] float32"),
        (lambda x, y, rng: x, "raised .*expected"),
        (lambda x, y, rng: None, "raised TypeError.*expected"),
        (lambda x, y, rng: (x[:3], y), r"returned \(3, 3, 4, 5\) torch.float32, \(8,\); expected"),
        (lambda x, y, rng: (x, y[:3]), "returned .*of the same B"),
        (lambda x, y, rng: (x.double(), y), "returned .*torch.float64"),
        (lambda x, y: (x, y), "raised TypeError"),
    ],
)
def test_augmentation_of_the_users_that_goes_wrong_is_named(augment: Any, problem: str) -> None:
    with pytest.raises(UserCodeError, match=problem):
        next(Batches(images(), batch_size=8, augment=[augment]).epoch(0))


def test_error_that_is_told_well_already_is_passed_on() -> None:
    with pytest.raises(DataError, match="told well"):
        next(Batches(images(), batch_size=8, augment=[refusing]).epoch(0))
