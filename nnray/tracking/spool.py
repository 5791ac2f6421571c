"""Records on their way to the store, in order.

Entries are plain data, so that a spool may keep them on disk; replaying one that had already been
stored changes nothing. ``DiskSpool`` keeps them there; this module's own forgets them with the process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

KINDS = frozenset(
    "start resume id metrics params tags artifact text dataset model register end".split()  # noqa: SIM905
)
"""What an entry may be. A spool from elsewhere names methods by these, and by no others."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record.

    Args:
        kind: Which operation, one of ``KINDS``.
        run: Key of the run.
        body: Its arguments; JSON.
    """

    kind: str
    run: str
    body: Mapping[str, Any]


class Spool(Protocol):
    """A first-in, first-out queue of entries: any thread appends, one thread takes."""

    @property
    def folder(self) -> Path:
        """Where files that entries name stand until they are sent."""

    @property
    def root(self) -> Path | None:
        """Folder below which entries name their files; None where they name them by absolute path."""

    @property
    def durable(self) -> bool:
        """Whether what is unsent outlives the process."""

    def address(self, *, uri: str, experiment: str) -> None:
        """Say which store the entries are for."""

    def keep(self, path: Path) -> str:
        """See to it that a file or folder stays, and give the name by which ``find`` knows it."""

    def find(self, name: str) -> Path | None:
        """What was kept under a name; None for what this spool may not read."""

    def append(self, entry: Entry) -> None:
        """Add an entry at the end.

        Raises:
            OSError: There is no room for it.
        """

    def peek(self, count: int) -> Sequence[Entry]:
        """Entries from the front, which stay: at least one if there is one, ``count`` at most."""

    def ack(self, count: int) -> None:
        """Drop ``count`` entries from the front: they are stored."""

    def set_aside(self, entry: Entry) -> None:
        """Keep an entry, which the store would not take, out of the queue."""

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Let go of files and folders."""


class MemorySpool:
    """Entries in memory, with a temporary folder for their files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._folder: TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> Path:
        """Where files that entries name stand until they are sent."""
        with self._lock:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="nnray-spool-")
            return Path(self._folder.name)

    @property
    def root(self) -> None:
        """Files are named by absolute path."""
        return None

    @property
    def durable(self) -> bool:
        """Nothing outlives the process."""
        return False

    def address(self, *, uri: str, experiment: str) -> None:
        """Nothing needs to be remembered."""

    def keep(self, path: Path) -> str:
        """The file itself: it must stay as it is until it has been sent."""
        return str(path.absolute())

    def find(self, name: str) -> Path | None:
        """The file itself."""
        return Path(name)

    def append(self, entry: Entry) -> None:
        """Add an entry at the end."""
        with self._lock:
            self._entries.append(entry)

    def peek(self, count: int) -> Sequence[Entry]:
        """Up to ``count`` entries from the front, which stay."""
        with self._lock:
            return tuple(islice(self._entries, count))

    def ack(self, count: int) -> None:
        """Drop ``count`` entries from the front: they are stored."""
        with self._lock:
            for _ in range(count):
                self._entries.popleft()

    def set_aside(self, entry: Entry) -> None:
        """Forget it: its problem is named."""

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Remove the temporary folder."""
        with self._lock:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None


def find_below(root: Path, name: str) -> Path | None:
    """A file or folder below ``root``; None for what is outside of it, links followed."""
    root = root.resolve()
    try:
        path = (root / name).resolve()
        inside = [path, *(path.rglob("*") if path.is_dir() else ())]
        return path if all(each.resolve().is_relative_to(root) for each in inside) else None
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that no file can have
        return None
