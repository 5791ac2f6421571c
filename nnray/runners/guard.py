"""Clears up after a process that was killed: what it had started ends, its temporary folders go.

Ray's agents outlive a driver that gets SIGKILL by minutes. So a small process of its own reads a
pipe that closes when the driver ends, however it ends; until then it is told of folders. It runs by
itself: the standard library only, no site-packages, a few megabytes.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_ROUNDS, _REST_S = 20, 0.1


def watch(folder: Path) -> None:
    """Have a folder cleared once this process has ended, if it is still there by then.

    Args:
        folder: Absolute; every process that has a file open in it is taken to be ours.
    """
    pipe = guard().stdin
    assert pipe is not None
    with contextlib.suppress(OSError):  # somebody has killed the guard: nothing more depends on it
        pipe.write(os.fsencode(folder) + b"\n")
        pipe.flush()


@functools.cache
def guard() -> subprocess.Popen[bytes]:
    """The process that clears up after this one."""
    made = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # a terminal's Ctrl-C is not meant for it
    )
    atexit.register(made.communicate)
    return made


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
    for line in sys.stdin.buffer.read().splitlines():
        told = Path(os.fsdecode(line))
        if told.is_dir():
            clear(told)
