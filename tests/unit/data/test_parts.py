"""Laws of batches that are cut among ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data import batches as module
from nnray.data.batches import Batches
from nnray.data.parts import part_of
from nnray.data.splits import Examples

COUNTS, SIZES = st.integers(1, 60), st.integers(1, 6)


def examples(count: int) -> Examples:
    pixels = torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 2)
    return Examples(pixels, torch.arange(count))


def cut(count: int, batch_size: int, size: int, *, shuffle: bool) -> list[Batches]:
    return [
        Batches(examples(count), batch_size=batch_size, seed=3, shuffle=shuffle, rank=rank, num_ranks=size)
        for rank in range(size)
    ]


@given(count=st.integers(0, 100), size=SIZES)
def test_parts_follow_each_other_and_differ_by_one_at_most(count: int, size: int) -> None:
    parts = [part_of(count, rank=rank, size=size) for rank in range(size)]
    assert [n for part in parts for n in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@given(
    count=COUNTS,
    batch_size=COUNTS,
    size=SIZES,
    shuffle=st.booleans(),
    block=st.sampled_from([1, 100, 1 << 20]),
)
def test_the_parts_of_a_batch_together_are_the_batch_of_one_process(
    count: int, batch_size: int, size: int, shuffle: bool, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CPU_BLOCK_BYTES", block)
        whole = list(Batches(examples(count), batch_size=batch_size, seed=3, shuffle=shuffle).epoch(2))
        ranks = [list(each.epoch(2)) for each in cut(count, batch_size, size, shuffle=shuffle)]
    assert {len(each) for each in ranks} == {len(whole)}
    for number, (inputs, targets) in enumerate(whole):
        own = [each[number] for each in ranks]
        assert torch.equal(torch.cat([y for _, y in own]), targets)
        assert torch.equal(torch.cat([x[: len(y)] for x, y in own]), inputs)


@given(count=COUNTS, batch_size=COUNTS, size=SIZES)
def test_shares_weigh_each_example_alike(count: int, batch_size: int, size: int) -> None:
    """The mean over ranks of share * mean over the part is the mean over the batch."""
    ranks = cut(count, batch_size, size, shuffle=True)
    whole = list(Batches(examples(count), batch_size=batch_size, seed=3, shuffle=True).epoch(1))
    parts = [list(each.epoch(1)) for each in ranks]
    for number, (inputs, _) in enumerate(whole):
        means = [
            each.share(number + 1) * part[number][0].mean() for each, part in zip(ranks, parts, strict=True)
        ]
        assert float(sum(means)) / size == pytest.approx(float(inputs.mean()), rel=1e-5, abs=1e-5)
        for each, part in zip(ranks, parts, strict=True):
            assert (each.share(number + 1) == 0) == (len(part[number][1]) == 0)


def test_a_rank_without_a_part_gets_an_input_to_take_part_with() -> None:
    *_, last = cut(5, 2, 3, shuffle=False)
    assert [(len(x), len(y)) for x, y in last.epoch(1)] == [(1, 0)] * 3


def test_ranks_draw_their_own_augmentation_and_never_of_nothing() -> None:
    def noise(x: torch.Tensor, y: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        assert len(y)
        return x * 0 + torch.rand(len(x), 1, generator=rng), y

    drawn = []
    for rank in range(3):
        batches = Batches(examples(8), batch_size=4, seed=1, augment=[noise], rank=rank, num_ranks=3)
        drawn.append([x[: len(y)].flatten().tolist() for x, y in batches.epoch(1)])
    flat = [value for each in drawn for values in each for value in values[::2]]
    assert len(set(flat)) == len(flat) == 8
