"""Records on their way to the store, in order.

Entries are plain data, so that a spool may keep them on disk; replaying one that had already been
stored changes nothing. The durable spool takes this one's place behind the same Protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One record.

    Args:
        kind: Which operation, such as ``metrics``.
        run: Key of the run.
        body: Its arguments; JSON.
    """

    kind: str
    run: str
    body: Mapping[str, Any]


class Spool(Protocol):
    """A first-in, first-out queue of entries. Its user sees to one caller at a time."""

    @property
    def folder(self) -> Path:
        """Where files that entries name stand until they are sent."""

    def append(self, entry: Entry) -> None:
        """Add an entry at the end."""

    def peek(self, count: int) -> Sequence[Entry]:
        """Up to ``count`` entries from the front, which stay."""

    def ack(self, count: int) -> None:
        """Drop ``count`` entries from the front: they are stored."""

    def __len__(self) -> int: ...

    def close(self) -> None:
        """Let go of files and folders."""


class MemorySpool:
    """Entries in memory, with a temporary folder for their files."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._folder: TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> Path:
        """Where files that entries name stand until they are sent."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="nnray-spool-")
        return Path(self._folder.name)

    def append(self, entry: Entry) -> None:
        """Add an entry at the end."""
        self._entries.append(entry)

    def peek(self, count: int) -> Sequence[Entry]:
        """Up to ``count`` entries from the front, which stay."""
        return tuple(islice(self._entries, count))

    def ack(self, count: int) -> None:
        """Drop ``count`` entries from the front: they are stored."""
        for _ in range(count):
            self._entries.popleft()

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
