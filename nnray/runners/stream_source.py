"""Reads of a streamed set, as Ray Data runs them: in processes that import no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from nnray.data.stream import Array, Pieces, Streamed

_BLOCK_BYTES = 4 << 20


class PieceSource(Datasource):
    """Pieces of a streamed set; a read for each group of them.

    Args:
        plain: Reference to the split.
        tasks: The pieces of each read, in order.
    """

    def __init__(self, plain: Any, tasks: Sequence[Pieces]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._plain, self._tasks = plain, list(tasks)
        streamed: Streamed = ray.get(plain)
        self._example_bytes = streamed.example_bytes

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all that is read."""
        return sum(_rows(task) for task in self._tasks) * self._example_bytes

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """A read for each group, whatever parallelism is wished for: their order is the epoch's."""
        return [ReadTask(partial(_read, self._plain, task), self._metadata(task)) for task in self._tasks]

    def _metadata(self, task: Pieces) -> BlockMetadata:
        rows = _rows(task)
        return BlockMetadata(
            num_rows=rows, size_bytes=rows * self._example_bytes, exec_stats=None, input_files=None
        )


def _rows(task: Pieces) -> int:
    return int((task[:, 3] - task[:, 2]).sum())


def _read(plain: Any, task: Pieces) -> Iterable[pa.Table]:
    streamed: Streamed = ray.get(plain)
    waiting: list[Array] = []
    for piece in task:
        for block in streamed.read(piece):
            waiting.append(block)
            if sum(part.nbytes for part in waiting) >= _BLOCK_BYTES:
                yield _table(waiting, streamed)
                waiting = []
    if waiting:
        yield _table(waiting, streamed)


def _table(parts: Sequence[Array], streamed: Streamed) -> pa.Table:
    inputs = np.ascontiguousarray(np.concatenate(parts)).reshape(sum(len(part) for part in parts), -1)
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(streamed.example_bytes), len(inputs), [None, pa.py_buffer(inputs)]
    )
    return pa.table({"inputs": column})
