"""Writes checkpoints beside training: only the copy of the state is waited for, not the disk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import torch


class Writer:
    """Runs writes in a thread, in order; at most one waits.

    What a write raised is raised by the next call, or at the end of the block.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="nnray-checkpoint")
        self._last: Future[None] | None = None

    def submit(self, write: Callable[[Mapping[str, Any]], None], state: Mapping[str, Any]) -> None:
        """Write a state as it is now.

        Args:
            write: Called in the thread with a copy of the state.
            state: Tensors, plain values and containers of them.
        """
        self.wait()
        self._last = self._pool.submit(write, snapshot(state))

    def wait(self) -> None:
        """Wait for the last write."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self.wait()


def snapshot(value: Any) -> Any:
    """A copy that training does not change, its tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return copy.deepcopy(value)
