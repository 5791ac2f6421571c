"""What one machine tells of itself. It is measured where it is called: here, or on a node of a cluster."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from nnray import __version__
from nnray.runners.cores import available_cores

PACKAGES = ("mlflow", "numpy", "optuna", "ray", "torch", "torchvision")
_KNOCK_S = 5.0
_SLOW_S = 120.0


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine.

    Args:
        host: Its name.
        address: As the cluster calls it; empty for this machine.
        versions: Of what must be equal everywhere.
        cpus: Cores that may be used.
        gpus_there: GPUs that the driver shows.
        gpus_usable: GPUs that torch can use.
        gpus_given: GPUs that Ray hands out.
        memory_bytes: Memory that is free.
        shm_bytes: Shared memory that is free, which Ray's objects and data loaders live in.
        disk_bytes: Free on the disk of the temporary folder.
        resolves_to: The address that its own name stands for; empty if for none.
        open_files: How many files a process may open.
    """

    host: str
    address: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    cpus: int = 1
    gpus_there: int = 0
    gpus_usable: int = 0
    gpus_given: float = 0.0
    memory_bytes: int = 0
    shm_bytes: int = 0
    disk_bytes: int = 0
    resolves_to: str = ""
    open_files: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.host} ({self.address})" if self.address else self.host


def look(*, address: str = "", gpus_given: float = 0.0) -> Facts:
    """Measure this machine.

    Args:
        address: As the cluster calls it.
        gpus_given: GPUs that Ray hands out here.
    """
    import resource

    there = _count_gpus()
    return Facts(
        host=socket.gethostname(),
        address=address,
        versions=read_versions(),
        cpus=available_cores(),
        gpus_there=there,
        gpus_usable=_count_usable() if there or gpus_given else 0,
        gpus_given=gpus_given,
        memory_bytes=psutil.virtual_memory().available,
        shm_bytes=_free("/dev/shm"),
        disk_bytes=_free(tempfile.gettempdir()),
        resolves_to=_resolved(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def read_versions() -> dict[str, str]:
    """Versions of Python, nnray and what it builds on; nothing is imported for it."""
    found = {"python": platform.python_version(), "nnray": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_token(uri: str, name: str) -> str:
    """Write a small file to a storage.

    Returns:
        What it holds.
    """
    from pyarrow.fs import FileSystem

    system, root = FileSystem.from_uri(as_uri(uri))
    system.create_dir(root, recursive=True)
    token = secrets.token_hex(8)
    with system.open_output_stream(f"{root}/{name}") as file:
        file.write(token.encode())
    return token


def read_token(uri: str, name: str) -> str:
    """Read what ``write_token`` wrote, on whatever machine."""
    from pyarrow.fs import FileSystem

    system, root = FileSystem.from_uri(as_uri(uri))
    with system.open_input_stream(f"{root}/{name}") as file:
        content: bytes = file.read()
    return content.decode()


def remove(uri: str, names: Sequence[str]) -> None:
    """Remove such files."""
    from pyarrow.fs import FileSystem

    system, root = FileSystem.from_uri(as_uri(uri))
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            system.delete_file(f"{root}/{name}")


def as_uri(storage: str) -> str:
    """A URI for a storage that may be a plain folder."""
    return storage if "://" in storage else Path(storage).absolute().as_uri()


class Probe:
    """A machine of a cluster, asked from afar.

    Args:
        address: As the cluster calls it.
        gpus_given: GPUs that Ray hands out there.
    """

    def __init__(self, address: str, gpus_given: float) -> None:
        self._address, self._gpus_given = address, gpus_given
        self._listener = socket.create_server(("", 0))

    def look(self) -> Facts:
        """Measure it."""
        return look(address=self._address, gpus_given=self._gpus_given)

    def port(self) -> int:
        """A port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    def clock(self) -> float:
        """Its time, in seconds since 1970."""
        return time.time()

    def knock(self, places: Sequence[tuple[str, int]]) -> list[str]:
        """Try to reach others; what went wrong with each, empty where nothing did."""
        return [_knock(place) for place in places]

    def write(self, uri: str, name: str) -> str:
        """As ``write_token``, there."""
        return write_token(uri, name)

    def read(self, uri: str, name: str) -> str:
        """As ``read_token``, there."""
        return read_token(uri, name)


def _knock(place: tuple[str, int]) -> str:
    try:
        socket.create_connection(place, timeout=_KNOCK_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _count_gpus() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=_SLOW_S)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def _count_usable() -> int:
    """In a process of its own: a worker without GPUs is kept from seeing them."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    program = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    done = subprocess.run(
        program, capture_output=True, text=True, check=False, timeout=_SLOW_S, env=environment
    )
    return int(done.stdout or 0) if done.returncode == 0 else 0


def _free(folder: str) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _resolved() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""
