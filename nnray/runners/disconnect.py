"""Ends a connection to Ray while other threads may still drop what they hold of it.

``ray.shutdown`` takes its core worker down and only then forgets it. An object reference that another
thread drops in between, or the garbage collector in it, asks a core worker that is gone, and Ray
answers by ending the process at once: exit code 1, no word (seen with Ray 2.60).
"""

from __future__ import annotations

from typing import Any


def disconnect() -> None:
    """Shut down this process's connection, and the cluster if it was started here."""
    import ray

    worker = ray._private.worker.global_worker
    if hasattr(worker, "core_worker"):
        worker.core_worker = _CoreWorker(worker.core_worker)
    ray.shutdown()


class _CoreWorker:
    """Ray's, until it is taken down; from then on whatever is asked of it does nothing."""

    def __init__(self, core: Any) -> None:
        self._core, self._is_down = core, False

    def __getattr__(self, name: str) -> Any:
        return _nothing if self._is_down else getattr(self._core, name)

    def shutdown_driver(self) -> None:
        self._is_down = True
        self._core.shutdown_driver()


def _nothing(*args: object, **kwargs: object) -> None:
    """What is still dropped went with the connection."""
