"""Which clients train side by side, on which examples, in which order.

What comes of a block depends on its clients and on nothing else, so blocks are cut from the cohort alone:
whoever computes a block, and however many do, the bits are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

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

    Shape:
        order: ``[C, S] int64``, into the resident examples; S is the sum of ``sizes``.
    """

    clients: tuple[int, ...]
    order: Tensor
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.order.shape == (len(self.clients), sum(self.sizes)), (self.order.shape, self.sizes)

    def batches(self, examples: Examples) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of each step, ``[C, B, ...]``."""
        order = self.order.to(examples.inputs.device)
        for stop, size in zip(accumulate(self.sizes), self.sizes, strict=True):
            index, shape = order[:, stop - size : stop].flatten(), (len(self.clients), size)
            inputs = as_float(examples.inputs.index_select(0, index))
            targets = examples.targets.index_select(0, index)
            yield inputs.view(*shape, *inputs.shape[1:]), targets.view(*shape, *targets.shape[1:])


def cut_blocks(sizes: Mapping[int, tuple[int, ...]], *, block_size: int) -> list[tuple[int, ...]]:
    """Cut a cohort into blocks of clients whose steps are alike.

    Args:
        sizes: Of each client of the cohort, the examples in the batch of each of its steps.
        block_size: Clients in a block; the last of a kind may have fewer.

    Returns:
        The clients of each block, ascending; blocks by their first client.
    """
    assert block_size > 0, block_size
    alike: dict[tuple[int, ...], list[int]] = {}
    for client in sorted(sizes):
        alike.setdefault(sizes[client], []).append(client)
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
