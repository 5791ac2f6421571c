"""Laws of streamed batches: each example once, one order for any number of workers, bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from nnray.data.splits import Examples
from nnray.data.stream import Array, Pieces, Streamed, read_here
from nnray.data.stream_batches import StreamBatches
from nnray.errors import DataError
from tests.unit.data.streams import loaded, rows, streamed_splits, write_parquet


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    folder = tmp_path_factory.mktemp("streams")
    write_parquet(folder)
    split = streamed_splits(folder).train
    assert isinstance(split, Streamed)
    return split


def epoch(streamed: Streamed, number: int = 1, **options: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(
        StreamBatches(streamed, **{"batch_size": 32, "seed": 3, "shuffle": True, **options}).epoch(number)
    )


def joined(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> Examples:
    inputs, targets = zip(*batches, strict=True)
    return Examples(torch.cat(inputs), torch.cat(targets))


@pytest.mark.parametrize("batch_size", [1, 32, 100, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_example_comes_once_an_epoch(train: Streamed, batch_size: int, shuffle: bool) -> None:
    batches = epoch(train, batch_size=batch_size, shuffle=shuffle)
    assert rows(joined(batches)) == rows(loaded(train))
    assert len(batches) == len(StreamBatches(train, batch_size=batch_size)) == -(-len(train) // batch_size)
    assert {len(y) for _, y in batches[:-1]} <= {batch_size}


def test_unshuffled_batches_are_in_the_order_of_the_files(train: Streamed) -> None:
    found, whole = joined(epoch(train, shuffle=False)), loaded(train)
    assert torch.equal(found.targets, whole.targets)
    assert torch.equal(found.inputs, whole.inputs.float() / 255)


def test_the_order_is_of_seed_and_epoch(train: Streamed) -> None:
    one, again, later, other = (
        joined(epoch(train, number, seed=seed)).inputs for number, seed in [(1, 3), (1, 3), (2, 3), (1, 4)]
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, later)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("num_ranks", [2, 3, 4, 5, 16])
@pytest.mark.parametrize("batch_size", [32, 10])
def test_parts_of_ranks_make_the_batches_of_one_process(
    train: Streamed, num_ranks: int, batch_size: int
) -> None:
    whole = epoch(train, batch_size=batch_size)
    ranks = [epoch(train, batch_size=batch_size, rank=r, num_ranks=num_ranks) for r in range(num_ranks)]
    for parts, (inputs, targets) in zip(zip(*ranks, strict=True), whole, strict=True):
        assert torch.equal(torch.cat([x for x, _ in parts]), inputs)
        assert torch.equal(torch.cat([y for _, y in parts]), targets)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
def test_shares_weigh_each_example_alike(train: Streamed, num_ranks: int) -> None:
    options: dict[str, Any] = {"batch_size": 7, "shuffle": True, "num_ranks": num_ranks}
    ranks = [StreamBatches(train, rank=rank, **options) for rank in range(num_ranks)]
    parts = [[len(targets) for _, targets in each.epoch(1)] for each in ranks]
    for number, sizes in enumerate(zip(*parts, strict=True), start=1):
        expected = [size * num_ranks / sum(sizes) for size in sizes]
        assert [each.share(number) for each in ranks] == pytest.approx(expected)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 20])
def test_ranks_measure_each_example_once(train: Streamed, num_ranks: int) -> None:
    parts = [
        batch for r in range(num_ranks) for batch in epoch(train, shuffle=False, rank=r, num_ranks=num_ranks)
    ]
    assert torch.equal(joined(parts).inputs, loaded(train).inputs.float() / 255)


def test_a_rank_reads_no_more_than_its_lanes(train: Streamed) -> None:
    read: list[int] = []

    def reader(streamed: Streamed, pieces: Pieces) -> Iterator[Array]:
        read.append(int((pieces[:, 3] - pieces[:, 2]).sum()))
        return read_here(streamed, pieces)

    for rank in range(4):
        epoch(replace(train, reader=reader), rank=rank, num_ranks=4)
    assert sum(read) == len(train)
    assert max(read) - min(read) <= 4


def test_the_readers_cuts_change_nothing(train: Streamed) -> None:
    def crumbs(streamed: Streamed, pieces: Pieces) -> Iterator[Array]:
        for block in read_here(streamed, pieces):
            yield from (block[at : at + 3] for at in range(0, len(block), 3))

    plain, cut = epoch(train), epoch(replace(train, reader=crumbs))
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(plain, cut, strict=True))


def test_no_more_is_read_ahead_than_the_buffer_holds(train: Streamed) -> None:
    """Lanes times the largest shard wait beside the pools; both are bounded by the buffer."""
    small = replace(train, buffer_bytes=4 * 37 * 60)
    ahead, largest = [0], [0]

    def reader(streamed: Streamed, pieces: Pieces) -> Iterator[Array]:
        for block in read_here(streamed, pieces):
            ahead[0] += len(block)
            largest[0] = max(largest[0], ahead[0])
            yield block

    assert small.num_lanes == 4
    for _, targets in StreamBatches(replace(small, reader=reader), batch_size=8, shuffle=True).epoch(1):
        ahead[0] -= len(targets)
    assert largest[0] * 60 <= 2 * small.buffer_bytes + 8 * 60


@pytest.mark.parametrize(("groups", "lanes"), [(1, 1), (2, 2), (3, 2), (9, 8), (100, 16)])
def test_lanes_are_as_many_as_the_buffer_has_room_for(train: Streamed, groups: int, lanes: int) -> None:
    largest = int(train.counts.max()) * train.example_bytes
    assert replace(train, buffer_bytes=groups * largest).num_lanes == lanes


def test_more_workers_than_lanes_are_told(train: Streamed) -> None:
    small = replace(train, buffer_bytes=2 * 37 * 60)
    with pytest.raises(DataError, match=r"2 lane\(s\), 4 workers.*row groups"):
        StreamBatches(small, batch_size=8, shuffle=True, rank=0, num_ranks=4)


def test_augmentation_is_of_the_seed_and_differs_by_rank(train: Streamed) -> None:
    def noise(x: torch.Tensor, y: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(x.shape, generator=rng), y

    one, again = (epoch(train, augment=[noise]) for _ in range(2))
    assert torch.equal(joined(one).inputs, joined(again).inputs)
    first, second = (epoch(train, augment=[noise], rank=r, num_ranks=2)[0][0] for r in range(2))
    assert not torch.equal(first, second)


def test_images_are_laid_out_by_pixel_where_it_is_asked_for(train: Streamed) -> None:
    batches = epoch(train, channels_last=True)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x, _ in batches)
    assert torch.equal(joined(batches).inputs, joined(epoch(train)).inputs)


def test_files_that_shrank_are_told(train: Streamed) -> None:
    class Shrunk:
        sizes, labels, names = train.source.sizes, train.source.labels, train.source.names
        shape, dtype = train.source.shape, train.source.dtype

        def read(self, shard: int) -> Iterator[Array]:
            yield next(train.source.read(shard))[:5]

    with pytest.raises(DataError, match="its files have changed"):
        epoch(replace(train, source=Shrunk()))
