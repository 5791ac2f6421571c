"""The processes that train one model together: rank 0 to rank ``size`` - 1.

Whoever starts them (Ray Train, torchrun, a sweep's gang, a test) initialises torch's default process
group; here is all that training asks of it. Alone, nothing is asked and nothing costs time.

A rank that dies or hangs ends the others' collectives, by a closed connection or by the time limit. None
of torch's messages says which one it was, so those that are left answer a roll call in the group's store:
who doesn't answer is named.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist

from nnray.errors import ClusterError
from nnray.metrics import MetricSums, merge

_ROLL_CALL_S = 5.0
"""How long a rank waits for the others' answers; they notice at once, for it closes its connections first."""
_SIGNS = ("gloo", "nccl", "timed out", "timeout", "connection", "process group", "socket", "store")
"""What messages about a collective hold; gloo's errors have no type of their own."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Args:
        rank: This one, counted from 0.
        size: How many there are.
        timeout_s: After so long in a collective, a rank that hasn't come to it counts as hung.
        group: Torch's process group; None where this process is alone.
    """

    rank: int = 0
    size: int = 1
    timeout_s: float = 0.0
    group: Any = None

    @property
    def path(self) -> tuple[str | int, ...]:
        """What the seeds of this rank's draws have in them; nothing where it is alone."""
        return ("rank", self.rank) if self.size > 1 else ()

    def reduce(self, sums: MetricSums) -> MetricSums:
        """The sums over all ranks; added up in their order, so every rank gets the same bits.

        Raises:
            ClusterError: A rank is lost or hangs.
        """
        if self.size == 1:
            return sums
        with self.watched():
            parts: list[Any] = [None] * self.size
            dist.all_gather_object(parts, sums, group=self.group)
        return merge(parts)

    def lowest(self, value: int) -> int:
        """The lowest of all ranks' values.

        Raises:
            ClusterError: A rank is lost or hangs.
        """
        if self.size == 1:
            return value
        with self.watched():
            lowest = torch.tensor(value, device=self._device)
            dist.all_reduce(lowest, dist.ReduceOp.MIN, group=self.group)
            return int(lowest)

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on a rank.

        Raises:
            ClusterError: A rank is lost or hangs.
        """
        return self.lowest(0 if flag else 1) == 0

    def barrier(self) -> None:
        """Wait until every rank is here.

        Raises:
            ClusterError: A rank is lost or hangs.
        """
        self.lowest(0)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all ranks.

        Raises:
            ClusterError: A rank is lost or hangs.
        """
        total = values.clone(memory_format=torch.contiguous_format)
        if self.size > 1:
            with self.watched():
                dist.all_reduce(total, group=self.group)
        return total

    def broadcast(self, tensors: Sequence[torch.Tensor]) -> None:
        """Set tensors to what they are on rank 0.

        Raises:
            ClusterError: A rank is lost or hangs.
        """
        if self.size == 1:
            return
        with self.watched():
            for tensor in tensors:
                dist.broadcast(tensor, group=self.group, group_src=0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have a collective that fails inside the block say which rank it was.

        Raises:
            ClusterError: A rank is lost or hangs.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(sign in str(error).lower() for sign in _SIGNS):
                raise
            raise ClusterError(self._told(self._absent(), str(error))) from error

    def _absent(self) -> list[int] | None:
        """The ranks that don't answer; None where the store can't be asked."""
        # Whoever waits for this rank's part of the collective fails now, and comes to the roll call too.
        self.group.abort()
        names = [f"nnray/{self.group.group_name}/{rank}" for rank in range(self.size)]
        ends = time.monotonic() + _ROLL_CALL_S
        try:
            self._store.set(names[self.rank], "here")
            while not self._store.check(names) and time.monotonic() < ends:
                time.sleep(0.05)
            return [rank for rank, name in enumerate(names) if not self._store.check([name])]
        except RuntimeError:
            return None

    def _told(self, absent: list[int] | None, error: str) -> str:
        first = error.strip().splitlines()[0]
        if absent is None:
            return (
                f"rank 0 of {self.size}, which holds the store, is gone, as seen by rank {self.rank}: {first}"
            )
        who = ", ".join(f"rank {rank}" for rank in absent) or "no rank"
        advice = "look at its log; if it is only slow, raise parallel.timeout_s"
        return (
            f"{who} of {self.size} doesn't answer, as seen by rank {self.rank} (limit {self.timeout_s:g} s): "
            f"{advice}; torch said: {first}"
        )

    @cached_property
    def _store(self) -> Any:
        return dist.distributed_c10d._get_default_store()

    @cached_property
    def _device(self) -> torch.device:
        return torch.device("cuda" if dist.get_backend(self.group) == "nccl" else "cpu")


ALONE = Ranks()
"""One process, and no torch.distributed."""


def in_step(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]], ranks: Ranks
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A rank's batches, and then an input without a target for as long as another rank has some left.

    For models whose forward pass the ranks must make together.

    Args:
        batches: This rank's, at least one; the ranks may have different numbers of them.
        ranks: Each calls this.
    """
    inputs = torch.empty(0)
    for batch in batches:
        inputs = batch[0]
        ranks.any(True)
        yield batch
    while ranks.any(False):
        yield inputs[:1], torch.empty(0, dtype=torch.int64, device=inputs.device)


def joined(*, timeout_s: float) -> Ranks:
    """This process among the ranks of the default process group, which its caller has initialised.

    Every rank calls it at the same point.

    Args:
        timeout_s: After so long in a collective, a rank that hasn't come to it counts as hung.
    """
    assert dist.is_initialized(), "the caller initialises the default process group"
    size = dist.get_world_size()
    if size == 1:
        return ALONE
    # A group of its own: the default one's time limit is its maker's.
    group = dist.new_group(timeout=timedelta(seconds=timeout_s))
    return Ranks(dist.get_rank(), size, timeout_s, group)
