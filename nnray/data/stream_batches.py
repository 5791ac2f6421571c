"""Batches of a streamed set: the same for any reader and any number of workers, in bounded memory.

What is in memory at a time: the pools that shuffle, at most a piece for each lane beside them (both
bounded by ``data.buffer_mib``), and what the reader has read ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from nnray.data.batches import Augmentation, applied, as_float, laid_out
from nnray.data.stream import Array, Pieces, Streamed
from nnray.data.stream_order import lane_shares, lane_sizes, own_lanes, plan
from nnray.data.stream_pool import Pool
from nnray.errors import DataError
from nnray.seeding import derive, numpy_rng


class StreamBatches:
    """Batches of a streamed split; the same for each call with the same arguments.

    With several ranks, each gives its part of every batch: the parts together are what one process
    would give. A part may be empty.

    Args:
        streamed: What to hand out.
        batch_size: Examples in each batch, all ranks together; the last may have fewer.
        seed: Of the order and the augmentation.
        shuffle: A new order each epoch; else the order of the files.
        augment: Applied to each batch, one after the other.
        device: Where batches are handed out.
        channels_last: Lay images out by pixel, not by channel.
        rank: Of this process.
        num_ranks: How many there are.

    Raises:
        DataError: There are more ranks than lanes.
    """

    def __init__(
        self,
        streamed: Streamed,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        augment: Sequence[Augmentation] = (),
        device: str | torch.device = "cpu",
        channels_last: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        assert batch_size > 0 and 0 <= rank < num_ranks, (batch_size, rank, num_ranks)
        self.device = torch.device(device)
        self.batch_size, self.seed, self.shuffle, self.augment = batch_size, seed, shuffle, tuple(augment)
        self._streamed, self._rank, self._num_ranks = streamed, rank, num_ranks
        self._num_lanes = streamed.num_lanes if shuffle else num_ranks
        if self._num_lanes < num_ranks:
            raise _too_few_lanes(streamed, num_ranks)
        self._by_pixel = channels_last and len(streamed.source.shape) == 3
        # One process draws as a resident set does; ranks draw each their own.
        self._path = ("rank", rank) if num_ranks > 1 else ()

    @property
    def num_examples(self) -> int:
        """Examples in an epoch, of all ranks."""
        return len(self._streamed)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, a short last one included."""
        return -(-self.num_examples // self.batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def share(self, number: int) -> float:
        """What this rank's part of a training batch weighs: its size over the mean size of the parts.

        Args:
            number: Of the batch, counted from 1.
        """
        shares = lane_shares(
            number - 1, batch_size=self.batch_size, num_examples=self.num_examples, num_lanes=self._num_lanes
        )
        own = own_lanes(self._num_lanes, rank=self._rank, size=self._num_ranks)
        return float(shares[own.start : own.stop].sum() * self._num_ranks / shares.sum())

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Hand out each example once; depends only on the seed and the number.

        Args:
            number: Of the epoch.
        """
        rng = torch.Generator()
        parts = self._shuffled(number) if self.shuffle else self._in_order()
        for index, (rows, labels) in enumerate(parts):
            inputs, targets = self._tensors(rows, labels)
            if self.augment and len(targets):
                rng.manual_seed(derive(self.seed, "augment", number, index, *self._path))
                for apply in self.augment:
                    inputs, targets = applied(apply, inputs, targets=targets, rng=rng)
            yield (
                laid_out(inputs, by_pixel=self._by_pixel),
                targets,
            )

    def _tensors(self, inputs: Array, targets: Array) -> tuple[Tensor, Tensor]:
        moved = torch.from_numpy(inputs).to(self.device, non_blocking=True)
        return as_float(moved), torch.from_numpy(targets).to(self.device, non_blocking=True)

    def _shuffled(self, number: int) -> Iterator[tuple[Array, Array]]:
        order = numpy_rng(self.seed, "order", number)
        pieces = plan(self._streamed.counts, num_lanes=self._num_lanes, rng=order)
        own = own_lanes(self._num_lanes, rank=self._rank, size=self._num_ranks)
        pools = {lane: self._pool(lane, number) for lane in own}
        lanes = _Lanes(self._streamed, pieces[np.isin(pieces[:, 0], own)], pools)
        for batch in range(self.num_batches):
            shares = lane_shares(
                batch, batch_size=self.batch_size, num_examples=self.num_examples, num_lanes=self._num_lanes
            )
            yield self._joined([lanes.draw(lane, int(shares[lane])) for lane in own if shares[lane]])

    def _pool(self, lane: int, number: int) -> Pool:
        room = self._streamed.buffer_bytes // (self._num_lanes * self._streamed.example_bytes)
        least = -(-self.batch_size // self._num_lanes)
        most = int(lane_sizes(self.num_examples, self._num_lanes)[lane])
        rng = numpy_rng(self.seed, "pool", number, lane)
        return Pool(max(1, min(max(room, least), most)), rng=rng)

    def _in_order(self) -> Iterator[tuple[Array, Array]]:
        """This rank's part of the whole, from its beginning to its end."""
        rank, size = self._rank, -(-self.batch_size // self._num_ranks)
        pieces = plan(self._streamed.counts, num_lanes=self._num_ranks)
        lanes = _Lanes(self._streamed, pieces[pieces[:, 0] == rank], {rank: Pool(size, rng=None)})
        left = int(lane_sizes(self.num_examples, self._num_ranks)[rank])
        while left:
            count = min(size, left)
            yield lanes.draw(rank, count)
            left -= count

    def _joined(self, parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        if not parts:
            source = self._streamed.source
            return np.empty((0, *source.shape), source.dtype), np.empty(0, np.int64)
        inputs, targets = zip(*parts, strict=True)
        return np.concatenate(inputs), np.concatenate(targets)


class _Lanes:
    """Deals what is read out to the pools of its lanes, no faster than they are drawn from."""

    def __init__(self, streamed: Streamed, pieces: Pieces, pools: dict[int, Pool]) -> None:
        self._pools = pools
        self._left = {
            lane: int((pieces[pieces[:, 0] == lane, 3] - pieces[pieces[:, 0] == lane, 2]).sum())
            for lane in pools
        }
        self._parts = _labelled(streamed, pieces)

    def draw(self, lane: int, number: int) -> tuple[Array, Array]:
        """So many examples of a lane, drawn from a pool that is full unless the lane is at its end."""
        pool = self._pools[lane]
        while self._left[lane] and len(pool) < pool.capacity:
            dealt, inputs, targets = next(self._parts)
            self._pools[dealt].add(inputs, targets)
            self._left[dealt] -= len(inputs)
        return pool.draw(number)


def _labelled(streamed: Streamed, pieces: Pieces) -> Iterator[tuple[int, Array, Array]]:
    """Lane, inputs and targets of what is read, whatever the cuts it comes in."""
    if not len(pieces):
        return
    blocks = streamed.blocks(pieces)
    block = next(blocks)
    for piece in pieces:
        targets = streamed.targets(piece)
        while len(targets):
            if not len(block):
                block = next(blocks)
            count = min(len(block), len(targets))
            yield int(piece[0]), block[:count], targets[:count]
            block, targets = block[count:], targets[count:]


def _too_few_lanes(streamed: Streamed, size: int) -> DataError:
    largest = int(streamed.counts.max()) * streamed.example_bytes / 2**20
    return DataError(
        f"this set streams in {streamed.num_lanes} lane(s), {size} workers are asked for: its largest shard "
        f"has {largest:.0f} MiB and data.buffer_mib is {streamed.buffer_bytes >> 20}: use at most "
        f"{streamed.num_lanes} workers, raise data.buffer_mib, or write the files in smaller row groups"
    )
