"""Where the ranks of a gang meet: a store on rank 0's node, and torch's process group by way of it.

Gloo goes by the name of the host, which on many machines leads to the loopback: it is told the
interface of the address that Ray knows the node by. Ray shows each rank its own GPUs alone, so to every
rank its device is the first one.
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a rank must know to find the others.

    Args:
        host: Address of rank 0's node.
        port: Of the store.
        size: How many ranks there are.
        backend: As torch takes it.
        timeout_s: How long a rank waits for the others.
    """

    host: str
    port: int
    size: int
    backend: str
    timeout_s: float


def backend(gpus: float) -> str:
    """Which one ranks with so many GPUs each talk by; NCCL takes no two ranks on the same GPU."""
    return "cpu:gloo,cuda:nccl" if gpus >= 1 and torch.cuda.is_available() else "gloo"


def enter(meeting: Meeting, rank: int, *, address: str, store: Any = None) -> None:
    """Become a rank of the meeting's process group; comes back once all are there.

    Args:
        meeting: As rank 0 has called it.
        rank: This one's.
        address: Of this node.
        store: The meeting's, at rank 0.

    Raises:
        RuntimeError: Somebody hasn't come in time.
    """
    name = interface(address)
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    os.environ["LOCAL_RANK"] = "0"
    timeout = timedelta(seconds=meeting.timeout_s)
    if store is None:
        store = TCPStore(meeting.host, meeting.port, meeting.size, is_master=False, timeout=timeout)
    dist.init_process_group(meeting.backend, store=store, rank=rank, world_size=meeting.size, timeout=timeout)


class Rendezvous:
    """The meetings that rank 0 calls, one after another; each has a store of its own.

    Args:
        address: Of this node.
        size: How many ranks there are.
        gpus: Of each rank.
        timeout_s: How long a rank waits for the others.
    """

    def __init__(self, address: str, *, size: int, gpus: float, timeout_s: float) -> None:
        self._address, self._size, self._gpus, self._timeout_s = address, size, gpus, timeout_s
        self._store: TCPStore | None = None

    def call(self) -> Meeting:
        """Call a meeting; the one before is over.

        Raises:
            RuntimeError: The store can't be opened.
        """
        timeout = timedelta(seconds=self._timeout_s)
        self._store = TCPStore(
            self._address, 0, self._size, is_master=True, timeout=timeout, wait_for_workers=False
        )
        return Meeting(self._address, self._store.port, self._size, backend(self._gpus), self._timeout_s)

    def enter(self, meeting: Meeting) -> None:
        """Come to it, as rank 0.

        Raises:
            RuntimeError: Somebody hasn't come in time.
        """
        enter(meeting, 0, address=self._address, store=self._store)

    def leave(self) -> None:
        """Leave it; others that wait for this rank are told by that."""
        leave()
        self._store = None


def leave() -> None:
    """Leave the process group, if there is one; ranks that still wait for this one are told by that."""
    if dist.is_initialized():
        gc.collect()  # whatever holds the group holds its connections
        dist.destroy_process_group()
        gc.collect()


def interface(address: str) -> str | None:
    """The network interface that has an address; None where none has."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(found.address.partition("%")[0] == address for found in addresses):
            return name
    return None
