"""Which device training runs on, and a clear word where it isn't there."""

from __future__ import annotations

import torch

from nnray.errors import ConfigError, Problem


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is the first GPU, else the CPU.

    Raises:
        ConfigError: The device isn't on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        _require(name, (device.index or 0) < torch.cuda.device_count(), torch.cuda.device_count())
    if device.type == "mps":
        _require(name, torch.backends.mps.is_available(), 0)
    return device


def _require(name: str, there: bool, count: int) -> None:
    if not there:
        problem = (
            f"{name!r} is asked for, but this machine has {count} such GPU(s): "
            "use training.device=cpu, or auto to take what there is"
        )
        raise ConfigError("this machine", [Problem("training.device", problem)])
