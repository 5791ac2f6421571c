"""The file of a sweep's study: written for ``optuna-dashboard``, and never read here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class StudyFile(BaseJournalBackend):
    """Optuna's journal, without a lock and a wait for the disk at every line.

    One process writes it, and the sweep's own journal is what outlives a power cut. A line is
    one write, so that a dashboard reads whole ones. What Optuna reads back are the lines of this
    process, from memory: some samplers keep pickles in them, and nothing of a file is unpickled.

    Args:
        path: The file; one that is there is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._unread, self._count = path, list[str](), 0
        path.unlink(missing_ok=True)
        path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines from a number on; each is asked for once."""
        assert log_number_from == self._count - len(self._unread), (log_number_from, self._count)
        lines, self._unread = self._unread, []
        return map(json.loads, lines)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        with self._path.open("ab", buffering=0) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
        self._unread += lines
        self._count += len(lines)
