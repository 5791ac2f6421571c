"""Devices from a file: those that were measured, with the times of day at which each was there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnray.errors import DataError
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.windows import Windows, micros, windows

_NUMBERS = ("step_s", "down_bytes_s", "up_bytes_s")
_KEYS = {*_NUMBERS, "dropout", "available"}
_EXPECTED = (
    'expected JSON such as {"period_s": 86400, "devices": [{"step_s": 0.02, "down_bytes_s": 2.5e6, '
    '"up_bytes_s": 1e6, "dropout": 0.1, "available": [[0, 21600], [79200, 86400]]}]}'
)


def trace(num_clients: int, rng: np.random.Generator, *, file: str) -> Devices:
    """Devices that a file lists; client ``i`` has device ``i``, and after the last one they begin again.

    Args:
        file: JSON: ``period_s``, and ``devices``, each with ``step_s``, ``down_bytes_s``, ``up_bytes_s`` and,
            where it isn't 0, ``dropout``; ``available`` lists the seconds of the period from which to which
            it is there, where that isn't always.

    Raises:
        DataError: The file can't be read, or says what no device can be.
    """
    where = f"federated.devices.file: {file}"
    content = _content(file, where)
    listed = content["devices"]
    of = np.arange(num_clients) % len(listed)
    found = {name: np.array([_number(d, name, f"{where}: device {i}") for i, d in enumerate(listed)])[of]
             for name in _NUMBERS}  # fmt: skip
    dropout = np.array([_number({"dropout": 0.0, **d}, "dropout", where) for d in listed])[of]
    there = _windows(content, of, where)
    return Devices(
        step_s=found["step_s"],
        down=found["down_bytes_s"],
        up=found["up_bytes_s"],
        dropout=dropout,
        windows=there,
    )


def _content(file: str, where: str) -> Mapping[str, Any]:
    try:
        content = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where} is not readable JSON ({error}); {_EXPECTED}") from error
    if not isinstance(content, dict) or set(content) - {"period_s", "devices"}:
        raise DataError(f"{where} holds {str(content)[:80]}; {_EXPECTED}")
    devices = content.get("devices")
    if not isinstance(devices, list) or not devices:
        raise DataError(f"{where}: devices is {str(devices)[:80]}; {_EXPECTED}")
    for place, device in enumerate(devices):
        if not isinstance(device, dict) or set(device) - _KEYS:
            raise DataError(f"{where}: device {place} is {str(device)[:80]}; {_EXPECTED}")
    return content


def _number(values: Mapping[str, Any], name: str, where: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DataError(f"{where}: {name} is {value!r}, not a number; {_EXPECTED}")
    return float(value)


def _windows(content: Mapping[str, Any], of: np.ndarray[Any, Any], where: str) -> Windows | None:
    listed = content["devices"]
    if not any("available" in device for device in listed):
        return None
    seconds = _number(content, "period_s", where)
    if not 0 < seconds <= 1e9:
        raise DataError(f"{where}: period_s is {seconds:g}; allowed: above 0, to 1e9")
    period = micros(seconds)
    whole = [[0.0, seconds]]
    routines = [_routine(device.get("available", whole), period, f"{where}: device {place}")
                for place, device in enumerate(listed)]  # fmt: skip
    return windows(routines, period=period, routine=of, phase=np.zeros(len(of), dtype=np.int64))


def _routine(listed: Any, period: int, where: str) -> Sequence[tuple[int, int]]:
    """A device's windows in microseconds."""
    found, last = [], 0
    for window in listed if isinstance(listed, list) else ():
        if not isinstance(window, list) or len(window) != 2:
            raise DataError(f"{where}: available has {str(window)[:80]}; {_EXPECTED}")
        begin, end = (round(_number({"available": at}, "available", where) * 1e6) for at in window)
        if not last <= begin < end <= period:
            raise DataError(
                f"{where}: available has {window}; windows ascend, don't overlap, and end by period_s"
            )
        found.append((begin, end))
        last = end
    if not found:
        raise DataError(f"{where}: available is {str(listed)[:80]}, so that it never comes; {_EXPECTED}")
    return found
