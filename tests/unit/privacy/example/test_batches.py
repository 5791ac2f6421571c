"""Poisson sampling: the rate, independence, and that a draw depends on nothing but its name."""

from __future__ import annotations

import math

import pytest
import torch

from nnray.data.augment import flip
from nnray.data.splits import DataInfo, Examples
from nnray.privacy.example.batches import PoissonBatches, sampling_rate, steps_of_pass


def examples(count: int) -> Examples:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (count, 1, 4, 4), generator=rng, dtype=torch.uint8)
    return Examples(inputs, torch.arange(count))


def drawn(batches: PoissonBatches, epochs: int) -> torch.Tensor:
    """Which example came into which batch, ``[steps, N]``."""
    rows = []
    for epoch in range(1, epochs + 1):
        for _, targets in batches.epoch(epoch):
            row = torch.zeros(batches.num_examples)
            row[targets] = 1
            rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("size", "count", "rate", "steps"),
    [(10, 100, 0.1, 10), (30, 100, 0.3, 3), (100, 100, 1.0, 1), (500, 100, 1.0, 1), (1, 3, 1 / 3, 3)],
)
def test_rate_and_steps_of_a_pass(size: int, count: int, rate: float, steps: int) -> None:
    assert sampling_rate(size, count) == pytest.approx(rate)
    assert steps_of_pass(sampling_rate(size, count)) == steps
    batches = PoissonBatches(examples(count), batch_size=size)
    assert (batches.rate, batches.num_batches, batches.num_examples) == (pytest.approx(rate), steps, count)
    assert len(list(batches.epoch(1))) == steps


def test_every_example_comes_at_the_rate() -> None:
    taken = drawn(PoissonBatches(examples(200), batch_size=20, seed=4), epochs=100)
    steps, rate = len(taken), 0.1
    assert steps == 1000
    error = math.sqrt(rate * (1 - rate))
    assert abs(float(taken.mean()) - rate) < 3 * error / math.sqrt(taken.numel())
    # By example: a chi-square statistic of 200 binomial counts, within 4 of its standard deviations.
    counts = taken.sum(0)
    statistic = float(((counts - steps * rate) ** 2 / (steps * rate * (1 - rate))).sum())
    assert abs(statistic - 200) < 4 * math.sqrt(2 * 200)


def test_batch_sizes_are_binomial_and_not_fixed() -> None:
    sizes = drawn(PoissonBatches(examples(200), batch_size=20, seed=5), epochs=100).sum(1)
    expected = 200 * 0.1 * 0.9
    # The variance of a sample variance of n near-normal numbers is about 2 variance^2 / n.
    assert abs(float(sizes.var()) - expected) < 4 * expected * math.sqrt(2 / len(sizes))


def test_an_example_comes_whatever_the_others_and_the_steps_before_do() -> None:
    taken = drawn(PoissonBatches(examples(50), batch_size=10, seed=6), epochs=1000)
    centred = taken - taken.mean(0)
    bound = 4 / math.sqrt(len(taken))
    together = (centred[:, 0] * centred[:, 1]).mean() / (0.2 * 0.8)
    in_turn = (centred[1:, 0] * centred[:-1, 0]).mean() / (0.2 * 0.8)
    assert abs(float(together)) < bound and abs(float(in_turn)) < bound


def test_all_come_where_the_batch_is_all() -> None:
    ((inputs, targets),) = PoissonBatches(examples(30), batch_size=30).epoch(1)
    assert targets.tolist() == list(range(30)) and len(inputs) == 30


def test_batches_may_be_empty() -> None:
    batches = PoissonBatches(examples(4), batch_size=1, seed=1)
    sizes = [len(targets) for epoch in range(1, 30) for _, targets in batches.epoch(epoch)]
    assert 0 in sizes and max(sizes) > 1
    empty = next(x for epoch in range(1, 30) for x, y in batches.epoch(epoch) if not len(y))
    assert empty.shape == (0, 1, 4, 4) and empty.dtype == torch.float32


def test_draws_depend_on_seed_epoch_and_step_alone() -> None:
    data = examples(100)
    batches = PoissonBatches(data, batch_size=10, seed=1)
    third = [targets for _, targets in batches.epoch(3)]
    list(batches.epoch(7))
    again = [targets for _, targets in PoissonBatches(data, batch_size=10, seed=1).epoch(3)]
    assert all(torch.equal(one, other) for one, other in zip(third, again, strict=True))
    others = [
        [targets for _, targets in PoissonBatches(data, batch_size=10, seed=2).epoch(3)],
        [targets for _, targets in batches.epoch(4)],
        third[1:],
    ]
    for other in others:
        assert not all(torch.equal(a, b) for a, b in zip(third, other, strict=False))


def test_inputs_are_those_of_the_targets_and_scaled() -> None:
    data = examples(40)
    for inputs, targets in PoissonBatches(data, batch_size=10, channels_last=True).epoch(1):
        assert torch.equal(inputs, data.inputs[targets].float().div(255))
        assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_augmentation_is_drawn_by_step_and_leaves_the_examples() -> None:
    data = examples(40)
    before = data.inputs.clone()
    mirror = flip(DataInfo("made", (1, 4, 4), ("a",)), p=0.5)
    batches = PoissonBatches(data, batch_size=20, augment=[mirror], seed=3)
    first, again = ([x for x, _ in batches.epoch(1)] for _ in range(2))
    plain = [x for x, _ in PoissonBatches(data, batch_size=20, seed=3).epoch(1)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(first, plain, strict=True))
    assert torch.equal(data.inputs, before)
