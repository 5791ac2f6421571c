"""Ctrl-C once stops a sweep where nothing is half done; twice leaves at once, with all its processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import psutil

from nnray.runners.guard import guard


class Interrupts:
    """Whether the sweep was told to stop.

    Args:
        run: Name of the run, for the message.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._told = threading.Event()
        self._is_calm = False

    @property
    def is_set(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._told.is_set()

    @contextmanager
    def calm(self) -> Iterator[None]:
        """A block that looks at ``is_set`` itself: the first interrupt raises nothing in it."""
        self._is_calm = True
        _listen(self.handle)  # Ray takes SIGTERM for itself when it starts
        try:
            yield
        finally:
            self._is_calm = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self._told.is_set():
            leave(self._run)
        self._told.set()
        if not self._is_calm:
            raise KeyboardInterrupt
        _say("stopping; once more leaves at once")


@contextmanager
def interrupts(run: str) -> Iterator[Interrupts]:
    """Take SIGINT and SIGTERM in the block; outside the main thread none arrives."""
    found = Interrupts(run)
    before = _listen(found.handle)
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Take both signals; the handlers before come back."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}


def _say(text: str) -> None:
    """A line on stderr, past whatever the interrupted code was printing."""
    os.write(sys.stderr.fileno(), f"\n{text}\n".encode())


def leave(run: str) -> None:
    """End this process now, and all that it started; the run can be resumed as after any kill.

    Only the guard stays, for the moment that it takes it to remove temporary folders.
    """
    _say(f"left at once: `nnray resume {run}` goes on from here")
    spared = guard().pid
    for process in psutil.Process().children(recursive=True):
        if process.pid != spared:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    os._exit(130)
