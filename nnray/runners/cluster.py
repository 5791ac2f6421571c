"""Ray: a private cluster on this machine, or the one that is there already.

A private cluster has a temporary folder, ports and an access token of its own, so that any
number of them stand beside each other on a machine, and it goes when it is no longer wanted. No
other cluster is ever stopped.
"""

from __future__ import annotations

import atexit
import functools
import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nnray.errors import ClusterError
from nnray.runners.cores import available_cores
from nnray.runners.disconnect import disconnect
from nnray.runners.guard import watch

_SOCKET_ROOM = 40
"""Longest name of a temporary folder in which Ray's sockets still have names that are short enough."""
_KNOCK_S = 5.0
_STORE_BYTES = 256 * 2**20
_IDLE_MS = 60_000
"""How long a worker waits for work; Ray would end one after a second, before the caller is ready."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster has, or what is asked of it.

    Args:
        cpus: CPU cores.
        gpus: GPUs.
    """

    cpus: float
    gpus: float = 0.0

    def __str__(self) -> str:
        parts = [_counted(self.cpus, "CPU")]
        if self.gpus:
            parts.append(_counted(self.gpus, "GPU"))
        return " and ".join(parts)

    def times(self, number: int) -> Resources:
        """So many of these together."""
        return Resources(self.cpus * number, self.gpus * number)

    def fits(self, within: Resources) -> bool:
        """Whether there is as much."""
        return self.cpus <= within.cpus and self.gpus <= within.gpus

    def how_often(self, within: Resources) -> int:
        """How many of these fit beside each other."""
        by_gpus = within.gpus / self.gpus if self.gpus else float("inf")
        return int(min(within.cpus / self.cpus, by_gpus) + 1e-9)


class Cluster:
    """A connection to Ray, made in the background while the caller imports other things.

    Args:
        needs: The least that it must have; checked before anything is started.
        advice: What to do where it has less.
        preload: Modules that the first workers of a private cluster import while the caller is still
            busy: they wait for work, so that what comes first finds them ready.
        shares_cores: Whether a private cluster may have more CPUs than this machine has cores.

    Raises:
        ClusterError: This machine has fewer cores or GPUs than are needed.
    """

    def __init__(
        self, needs: Resources, *, advice: str, preload: Sequence[str] = (), shares_cores: bool = False
    ) -> None:
        self._needs, self._advice, self._preload = needs, advice, tuple(preload)
        self._cpus = max(available_cores(), math.ceil(needs.cpus) if shares_cores else 0)
        self._address = _address()
        self._ready, self._done = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._folder: Path | None = None
        self._is_ours = False
        self._thread = threading.Thread(target=self._run, name="nnray-ray", daemon=True)
        if self._address is None and not _is_connected():
            has = Resources(self._cpus, _gpus() if needs.gpus else 0)
            if not needs.fits(has):
                raise ClusterError(too_much(needs, has, where="this machine", advice=advice))

    def __enter__(self) -> Self:
        import ray  # noqa: F401 (not in the thread: other imports go on meanwhile)

        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._thread.join()

    def release(self) -> None:
        """Let go of the cluster, in the background: its last user is done with it."""
        self._done.set()

    @property
    def is_private(self) -> bool:
        """Whether it was started here, with this process's environment, and ends with it."""
        return self._folder is not None

    def resources(self) -> Resources:
        """What the cluster has; waits until it is up.

        Raises:
            ClusterError: It can't be reached, or has less than is needed.
        """
        self._ready.wait()
        if self._error is not None:
            raise ClusterError(self._explain(self._error)) from self._error
        import ray

        found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        has = Resources(found.get("CPU", 0.0), found.get("GPU", 0.0))
        if not (self._needs.fits(has) or can_grow_to(self._needs)):
            where = "this machine" if self._address is None else f"the cluster at {self._address}"
            raise ClusterError(too_much(self._needs, has, where=where, advice=self._advice))
        return has

    def _run(self) -> None:
        """Connect, and stay: a private cluster's processes end with the thread that started them."""
        try:
            self._connect()
        except BaseException as error:  # noqa: BLE001 (raised where the cluster is used)
            self._error = error
        finally:
            self._ready.set()
        self._done.wait()
        if self._is_ours:
            disconnect()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        import ray

        if ray.is_initialized():
            return
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is not None:
            _knock(self._address)
        self._is_ours = True
        if self._address is not None:
            ray.init(address=self._address, **common)
            return
        self._folder = _short_folder()
        watch(self._folder)
        with _environment({**_QUIET, "RAY_AUTH_TOKEN_PATH": str(_token_file()), "RAY_AUTH_MODE": None}):
            ray.init(
                address="local",
                num_cpus=self._cpus,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                _temp_dir=str(self._folder / "r"),  # Ray opens this one to everybody, not the one around it
                _system_config={
                    "preload_python_modules": list(self._preload),
                    "idle_worker_killing_time_threshold_ms": _IDLE_MS,
                },
                **common,
            )

    def _explain(self, error: BaseException) -> str:
        first = str(error).strip().splitlines()
        text = first[0] if first else type(error).__name__
        if self._address is None:
            return f"can't start Ray on this machine: {text}"
        return (
            f"can't connect to the Ray cluster at {self._address}: {text}: check the address, and that "
            "RAY_AUTH_MODE=token and a token are set if it asks for one; without RAY_ADDRESS a cluster "
            "of its own is started on this machine"
        )


def too_much(asked: Resources, has: Resources, *, where: str, advice: str) -> str:
    """The message for a request that can never be met."""
    return f"{asked} are asked for, {where} has {has}: {advice}"


def ceiling() -> Resources | None:
    """What an autoscaler could bring the cluster to; None where there is none."""
    import ray

    found = ray._private.state.state.get_max_resources_from_cluster_config()
    return None if found is None else Resources(found.get("CPU", 0), found.get("GPU", 0))


def can_grow_to(needs: Resources) -> bool:
    """Whether an autoscaler could bring the cluster to so much: then it is worth waiting for."""
    most = ceiling()
    return most is not None and needs.fits(most)


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _gpus() -> int:
    """The GPUs of this machine, as Ray will find them once it has started."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    kind = get_accelerator_manager_for_resource("GPU")
    assert kind is not None
    visible, there = (
        kind.get_current_process_visible_accelerator_ids(),
        kind.get_current_node_num_accelerators(),
    )
    return there if visible is None else min(there, len(visible))


def _address() -> str | None:
    """Of the cluster to use; None for one of our own."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def _knock(address: str) -> None:
    """See whether anyone is there: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def _is_connected() -> bool:
    import sys

    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _short_folder() -> Path:
    """A temporary folder whose name leaves room for the names of Ray's sockets."""
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="nnray-", dir=base if len(base) <= _SOCKET_ROOM - 15 else "/tmp"))


@functools.cache
def _token_file() -> Path:
    """This process's token for its private clusters; nobody else can read it."""
    folder = Path(tempfile.mkdtemp(prefix="nnray-token-"))
    watch(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "token"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables inside the block; None leaves one as it is, to be put back after."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
