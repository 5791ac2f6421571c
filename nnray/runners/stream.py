"""Streams are read by Ray Data: in parallel, ahead of training, on any node, in bounded memory.

Which examples come in which order is decided before anything is read, by ``nnray.data.stream_order``: Ray
Data only runs the reads, and hands their results on in that order. So the batches are those of a plain
loop in one process, whatever the number of readers, and a read that is lost is done again.

Reads ask for no CPU of Ray's: a trainer or a trial may hold all there are, and a read that waits for one
would never run. Their number is bounded instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnray.config import Experiment
from nnray.data.stream import Array, Pieces, Reader, Streamed, read_here
from nnray.errors import DataError, NnrayError
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.cores import available_cores
from nnray.runners.ray_data import in_order, raised_below

if TYPE_CHECKING:
    import pyarrow as pa

_TASK_BYTES = 16 << 20
"""What one read brings: small beside the memory of a reader, large beside the cost of a task."""
_MOST_READERS = 16
_AHEAD_PER_READER = 3


@contextmanager
def streaming(experiment: Experiment) -> Iterator[Reader]:
    """Who reads the experiment's data: where it streams, Ray Data, on a cluster that lasts for the block.

    Args:
        experiment: What is going to be trained.

    Raises:
        ClusterError: The cluster can't be reached.
    """
    if not experiment.data.stream:
        yield read_here
        return
    with Cluster(Resources(1), advice="leave out data.stream, or use a larger machine") as cluster:
        cluster.resources()
        yield RayReader(num_readers=max(1, available_cores() - 1))


@dataclass(frozen=True, slots=True)
class RayReader:
    """Reads by Ray Data, on the cluster that this process is connected to.

    Args:
        num_readers: Reads at a time.
    """

    num_readers: int = 2

    def __call__(self, streamed: Streamed, pieces: Pieces) -> Iterator[Array]:
        """The inputs of the pieces, in their order.

        Raises:
            DataError: A file can't be read, or holds what it should not.
        """
        import ray
        from ray.exceptions import RayError

        plain = ray.put(replace(streamed, reader=read_here))
        tasks = list(_tasks(streamed, pieces))
        if not tasks:
            return
        found = 0
        try:
            readers = min(self.num_readers, _MOST_READERS, len(tasks))
            for table in _executed(plain, tasks, num_readers=readers):
                inputs = _from_arrow(table, streamed)
                found += len(inputs)
                yield inputs
        except RayError as error:
            raise _cause(error) from error
        wanted = int((pieces[:, 3] - pieces[:, 2]).sum())
        assert found == wanted, f"Ray Data brought {found} examples of {wanted}"


def _tasks(streamed: Streamed, pieces: Pieces) -> Iterator[Pieces]:
    """Neighbouring pieces together, up to some MiB."""
    if not len(pieces):
        return
    sizes = np.cumsum((pieces[:, 3] - pieces[:, 2]) * streamed.example_bytes)
    task = (sizes - 1) // _TASK_BYTES
    cuts = np.flatnonzero(np.diff(task)) + 1
    yield from np.split(pieces, cuts)


def _executed(plain: Any, tasks: list[Pieces], *, num_readers: int) -> Iterator[pa.Table]:
    import ray.data
    from ray.data import DataContext

    from nnray.runners.stream_source import PieceSource

    with DataContext.current(_context(num_readers)):
        dataset = ray.data.read_datasource(
            PieceSource(plain, tasks),
            override_num_blocks=len(tasks),
            concurrency=num_readers,
            num_cpus=0,
        )
        batches = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
    yield from batches


def _context(num_readers: int) -> Any:
    context = in_order(memory_bytes=_AHEAD_PER_READER * num_readers * _TASK_BYTES)
    context.target_max_block_size = _TASK_BYTES
    return context


def _from_arrow(table: pa.Table, streamed: Streamed) -> Array:
    parts = []
    for chunk in table.column(0).chunks:
        raw = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
        size = streamed.example_bytes
        rows = raw[chunk.offset * size : (chunk.offset + len(chunk)) * size]
        parts.append(rows.view(streamed.source.dtype).reshape(-1, *streamed.source.shape))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _cause(error: BaseException) -> NnrayError:
    """What the reader raised, found below Ray's wrapping."""
    error = raised_below(error)
    if isinstance(error, NnrayError):
        return error
    return DataError(f"reading the stream failed: {str(error).strip().splitlines()[-1]}")
