"""Says that a process is at a run, so that others know whether it lives, wherever they are.

A lock of the file system ends with its process, but says nothing on another machine. So whoever
holds a run rewrites a small file every few seconds. Its age is told without comparing the clocks of
two machines: on the one that wrote it by the clock that counts from its start, which nobody sets;
elsewhere by the file system's own time, against a file that is written just then.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nnray.durable import write_json

BEAT_S = 2.0
"""How often a lease is renewed."""
EXPIRY_S = 15.0
"""Age at which it counts as given up: several beats, for a machine under load misses some."""
_FILE = "lease.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Lease:
    """Renews a run's lease in a thread, for as long as the block lasts.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nnray-lease", daemon=True)

    def __enter__(self) -> Self:
        renew(self._folder)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            (self._folder / _FILE).unlink()

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):  # the folder may be gone, or its server away for a while
                renew(self._folder)


def renew(folder: Path) -> None:
    """Write a lease for this process, as of now."""
    write_json(
        folder / _FILE,
        {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "beat_s": _uptime_s()},
    )


def holder(folder: Path) -> dict[str, Any] | None:
    """What the lease of a run says: host and process; None where there is none."""
    try:
        lease: dict[str, Any] = json.loads((folder / _FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return lease


def is_held(folder: Path) -> bool:
    """Whether a process renews the lease of a run."""
    lease = holder(folder)
    if lease is None:
        return False
    same = lease.get("boot") == _boot()
    age = _uptime_s() - float(lease["beat_s"]) if same else _age_s(folder)
    return age < EXPIRY_S


def _age_s(folder: Path) -> float:
    """Of the lease, as the file system dates it and a file of this instant."""
    try:
        written = (folder / _FILE).stat().st_mtime
    except OSError:  # it was given back just now
        return float("inf")
    return _now_s(folder) - written


def _now_s(folder: Path) -> float:
    """The time of the machine that keeps a folder's files."""
    probe = folder / f".{_FILE}.{secrets.token_hex(4)}.tmp"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # nothing may be written here
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _uptime_s() -> float:
    """Since this machine started, sleep included; never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _boot() -> str:
    """This start of this machine."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return socket.gethostname()
