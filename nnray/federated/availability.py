"""Traces of availability: which clients are there in which round, from a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnray.errors import DataError

Index = NDArray[np.int64]
_EXPECTED = "expected a JSON list over rounds of lists of client numbers, such as [[0, 1, 2], [1, 3]]"


def read_trace(file: str) -> Sequence[Any]:
    """The rounds of a trace; read once as long as the file stays as it is.

    Raises:
        DataError: It is missing, unreadable, or no list with at least one round.
    """
    try:
        stat = Path(file).expanduser().stat()
    except OSError as error:
        raise DataError(
            f"federated.sampler.file: {file} can't be read ({error.strerror}); {_EXPECTED}"
        ) from error
    return _read(file, stat.st_mtime_ns, stat.st_size)


def available_in(rounds: Sequence[Any], *, round: int, num_clients: int, file: str) -> Index:  # noqa: A002
    """The clients that are there, ascending.

    Args:
        rounds: Of the trace; after the last it begins again.
        round: Counted from 1.
        num_clients: All that there are.
        file: For messages.

    Raises:
        DataError: An entry is no list of different client numbers.
    """
    number = (round - 1) % len(rounds)
    listed, where = rounds[number], f"federated.sampler.file: {file}: round {number + 1}"
    if not isinstance(listed, list) or any(type(client) is not int for client in listed):
        raise DataError(f"{where} is {str(listed)[:80]}; {_EXPECTED}")
    clients = np.unique(np.array(listed, dtype=np.int64))
    if len(clients) < len(listed):
        raise DataError(f"{where} names a client twice; allowed: once")
    if len(clients) and (clients[0] < 0 or clients[-1] >= num_clients):
        wrong = clients[0] if clients[0] < 0 else clients[-1]
        raise DataError(f"{where} names client {wrong}; allowed: 0 to {num_clients - 1}")
    return clients


@lru_cache(maxsize=4)
def _read(file: str, changed: int, size: int) -> Sequence[Any]:
    try:
        rounds = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"federated.sampler.file: {file} is not readable JSON ({error}); {_EXPECTED}"
        ) from error
    if not isinstance(rounds, list) or not rounds:
        raise DataError(f"federated.sampler.file: {file} holds {str(rounds)[:80]}; {_EXPECTED}")
    return rounds
