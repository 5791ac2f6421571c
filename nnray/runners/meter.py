"""What this process takes of the machine, under names that MLflow shows among its system metrics."""

from __future__ import annotations

import contextlib

import psutil

_MEGABYTE = 1e6


class Meter:
    """Measures this process, from one reading to the next."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()

    def read(self) -> dict[str, float]:
        """CPU since the last reading, memory now; those of the GPU where this process uses one.

        Units:
            Percent, where 100 is one core in full; megabytes.
        """
        found = {
            "system/cpu_utilization_percentage": self._process.cpu_percent(),
            "system/memory_usage_megabytes": self._process.memory_info().rss / _MEGABYTE,
        }
        return found | _gpu()


def _gpu() -> dict[str, float]:
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    memory = torch.cuda.max_memory_allocated() / _MEGABYTE
    torch.cuda.reset_peak_memory_stats()
    found = {"system/gpu_memory_usage_megabytes": memory}
    with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # needs NVIDIA's management library
        found["system/gpu_utilization_percentage"] = float(torch.cuda.utilization())
    return found
