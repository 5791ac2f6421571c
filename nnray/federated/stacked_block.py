"""Which clients train side by side, on which examples, in which order.

What comes of a block depends on its clients and on nothing else, so blocks are cut from the cohort alone:
whoever computes a block, and however many do, the bits are the same.

Clients of a block take equally many steps. Where their batches differ in size, the smaller ones are filled up
with examples that weigh nothing.

Legend: C clients of a block, T steps, B examples of a batch, S of all batches of a client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.data.batches import as_float
from nnray.data.splits import Examples

_TINY = 1 << 14
"""Parameters of a model whose clients cost little but the calls."""


@dataclass(frozen=True, slots=True)
class Block:
    """Clients whose steps are alike.

    Args:
        clients: Their numbers, ascending.
        order: The examples that each sees, step by step.
        sizes: Examples in the batch of each step.
        counts: How many of them, the first, are of the client's batch; None where all are, for every client.

    Shape:
        order: ``[C, S] int64``, into the resident examples; S is the sum of ``sizes``.
        counts: ``[C, T] int64``.
    """

    clients: tuple[int, ...]
    order: Tensor
    sizes: tuple[int, ...]
    counts: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.order.shape == (len(self.clients), sum(self.sizes)), (self.order.shape, self.sizes)

    def in_batch(self, step: int) -> Tensor | None:
        """Which examples of a step, from 0, are of the client's batch, ``[C, B]``; None for all of them."""
        if self.counts is None or int(self.counts[:, step].min()) == self.sizes[step]:
            return None
        return torch.arange(self.sizes[step]) < self.counts[:, step, None]

    def batches(self, examples: Examples) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of each step, ``[C, B, ...]``."""
        order = self.order.to(examples.inputs.device)
        for stop, size in zip(accumulate(self.sizes), self.sizes, strict=True):
            index, shape = order[:, stop - size : stop].flatten(), (len(self.clients), size)
            inputs = as_float(examples.inputs.index_select(0, index))
            targets = examples.targets.index_select(0, index)
            yield inputs.view(*shape, *inputs.shape[1:]), targets.view(*shape, *targets.shape[1:])


def make_block(
    clients: Sequence[int],
    orders: Sequence[NDArray[np.int64]],
    *,
    sizes: Sequence[tuple[int, ...]],
) -> Block:
    """A block of clients, their batches filled up to the largest of each step.

    Args:
        clients: Their numbers, ascending.
        orders: The examples that each one sees, step by step, into the resident examples.
        sizes: Of each client, the examples in the batch of each of its steps; all take equally many steps.
    """
    if len({*sizes}) == 1:
        return Block(tuple(clients), torch.from_numpy(np.stack(orders)), sizes[0])
    counts = np.array(sizes)
    largest = counts.max(axis=0)
    # An example of the client's own fills up: no other client's can make its loss other than finite.
    firsts = np.array([order[0] for order in orders])
    filled = np.repeat(firsts[:, None], int(largest.sum()), axis=1)
    own = np.concatenate([np.arange(size) < counts[:, [step]] for step, size in enumerate(largest)], axis=1)
    filled[own] = np.concatenate(orders)
    return Block(
        tuple(clients), torch.from_numpy(filled), tuple(largest.tolist()), counts=torch.from_numpy(counts)
    )


def cut_blocks(
    sizes: Mapping[int, tuple[int, ...]], *, block_size: int, fills: bool = False
) -> list[tuple[int, ...]]:
    """Cut a cohort into blocks of clients whose steps are alike.

    Args:
        sizes: Of each client of the cohort, the examples in the batch of each of its steps.
        block_size: Clients in a block; the last of a kind may have fewer.
        fills: Whether batches may be filled up: then steps are alike that are equally many, of clients whose
            examples are not more than twice those of others.

    Returns:
        The clients of each block, ascending; blocks by their first client.
    """
    assert block_size > 0, block_size
    alike: dict[tuple[int, ...], list[int]] = {}
    for client in sorted(sizes):
        own = sizes[client]
        kind = (len(own), sum(own).bit_length()) if fills else own
        alike.setdefault(kind, []).append(client)
    blocks = [
        tuple(clients[start : start + block_size])
        for clients in alike.values()
        for start in range(0, len(clients), block_size)
    ]
    return sorted(blocks)


def usual_block_size(cohort: int, *, num_params: int) -> int:
    """A block size that is seldom far from the fastest, of the cohort alone: workers must not matter.

    Args:
        cohort: Clients of a round.
        num_params: Of the model.
    """
    if num_params <= _TINY:
        return 128
    return min(32, max(8, -(-cohort // 4)))
