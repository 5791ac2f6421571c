"""Clears up after a process that was killed: what it had started ends, its temporary folder goes.

Ray's agents outlive a driver that gets SIGKILL by minutes. So a small process of its own watches a
pipe that closes when the driver ends, however it ends. It runs by itself: the standard library
only, no site-packages, a few megabytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_ROUNDS, _REST_S = 20, 0.1


def watch(*folders: Path) -> subprocess.Popen[bytes]:
    """Start a guard over folders; closing its ``stdin``, or dying, sets it to work.

    Args:
        folders: Absolute; every process that has a file open in one of them is taken to be ours.
    """
    command = [sys.executable, "-I", "-S", __file__, *map(str, folders)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # a terminal's Ctrl-C is not meant for it
    )


def clear(folder: Path) -> None:
    """End all processes that have files open in a folder, and remove it."""
    for _ in range(_ROUNDS):
        found = list(_users(folder))
        for pid in found:
            _kill(pid)
        if not found:
            break
        time.sleep(_REST_S)
    shutil.rmtree(folder, ignore_errors=True)


def _users(folder: Path) -> Iterator[int]:
    """Processes with a file open below a folder, but for this one and its parent; needs /proc."""
    spared = {str(os.getpid()), str(os.getppid())}
    for entry in Path("/proc").glob("[0-9]*"):
        if entry.name not in spared and any(_is_below(link, folder) for link in _links(entry)):
            yield int(entry.name)


def _links(entry: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        for link in (entry / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(link.readlink())


def _is_below(path: str, folder: Path) -> bool:
    return path.startswith(f"{folder}/")


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    for argument in sys.argv[1:]:
        clear(Path(argument))
