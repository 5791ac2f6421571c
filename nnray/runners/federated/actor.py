"""The process of a federated worker, and how tensors get there and back."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import ray
import torch
from torch import Tensor

from nnray.federated.outcome import Outcome
from nnray.runners.federated.setting import Setting
from nnray.runners.federated.worker import Busy, Worker


def share_tensors() -> None:
    """Have Ray pass tensors as arrays, in shared memory and without a copy; each process calls this."""
    ray.util.register_serializer(Tensor, serializer=_to_array, deserializer=_to_tensor)


def _to_array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _to_tensor(array: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)  # nobody writes to it


@ray.remote(concurrency_groups={"watch": 1})  # type: ignore[call-overload]
class Actor:
    """A worker in a process of its own."""

    def __init__(self, search: Sequence[str]) -> None:
        sys.path[:0] = [entry for entry in search if entry not in sys.path]
        share_tensors()

    def begin(self, setting: Setting) -> None:
        """Make the worker."""
        self._worker = Worker(setting)

    def call(self, method: str, *args: Any) -> Any:
        """Have it do something."""
        answer = getattr(self._worker, method)(*args)
        return answer.packed() if isinstance(answer, Outcome) else answer

    @ray.method(concurrency_group="watch")
    def busy(self) -> Busy:
        """Whom it is at, while it is."""
        return self._worker.busy()
