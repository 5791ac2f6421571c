"""The one thread that writes to a store, so that no caller ever waits for it.

Entries go out in order. Metrics are gathered for up to a second or a thousand rows; all else goes at
once. A store that fails is tried again, later and later, and nothing is dropped: the entries stay in
the spool. An entry that the store refuses for good is named among the problems and passed over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nnray.errors import TrackingError
from nnray.tracking.spool import Entry, Spool

MAX_ROWS = 1_000
BATCH_DELAY_S = 1.0
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
_MAX_PROBLEMS = 100


class Refused(Exception):
    """The store will never take this entry."""


class Deliver(Protocol):
    """Puts one entry into the store, or raises; ``Refused`` if trying again is of no use."""

    def __call__(self, entry: Entry, /) -> Any:
        """Deliver an entry; what it gives is handed to ``done``."""


Done = Callable[[Entry, Any, Exception | None], None]


class Writer:
    """A queue in front of a store, emptied by a thread of its own.

    Args:
        deliver: Puts an entry into the store; called in the writer's thread only.
        spool: Where entries wait.
        done: Called with each entry that is stored, with the result, or refused, with the error.
    """

    def __init__(self, deliver: Deliver, spool: Spool, *, done: Done | None = None) -> None:
        self._deliver, self._spool, self._done = deliver, spool, done
        self._wake = threading.Condition()
        self._rows = self._urgent = 0
        self._oldest = self._retry_at = self._retry_s = 0.0
        self._hurry = 0
        self._closing = False
        self._refused: list[str] = []
        self._num_refused = 0
        self._trouble = ""
        for entry in spool.peek(len(spool)):
            self._count(entry, +1)
        self._thread = threading.Thread(target=self._work, name="nnray-tracking", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Add an entry; returns at once."""
        with self._wake:
            if self._closing:
                raise TrackingError(f"{entry.kind} of {entry.run}: the tracker is closed; log before close()")
            if not len(self._spool):
                self._oldest = time.monotonic()
            self._spool.append(entry)
            self._count(entry, +1)
            self._wake.notify_all()

    def flush(self, timeout_s: float) -> int:
        """Wait until the queue is empty or the time is up; returns how many entries are left."""
        with self._wake:
            self._hurry += 1
            self._retry_at = 0.0
            self._wake.notify_all()
            self._wake.wait_for(lambda: not len(self._spool), timeout_s)
            self._hurry -= 1
            return len(self._spool)

    def problems(self) -> tuple[str, ...]:
        """What was refused, and why the store can't be reached now."""
        with self._wake:
            hidden = self._num_refused - len(self._refused)
            more = (f"and {hidden} more refused",) if hidden else ()
            unsent = len(self._spool) if self._trouble or self._closing else 0
            down = (f"{unsent} records unsent: {self._why()}",) if unsent else ()
            return (*self._refused, *more, *down)

    def close(self, timeout_s: float) -> int:
        """Flush, then stop the thread; returns how many entries were never sent."""
        self.flush(timeout_s)
        with self._wake:
            self._closing = True
            unsent = self._spool.peek(len(self._spool))
            self._wake.notify_all()
        self._thread.join(timeout=0 if unsent else None)
        for entry in unsent:
            error = TrackingError(f"{entry.kind} of {entry.run} was not sent: {self._why()}")
            self._finish(entry, None, error)
        return len(unsent)

    def _why(self) -> str:
        return self._trouble or "the store has not answered yet"

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._closing or self._due()):
                    self._wake.wait(self._pause())
                if self._closing:
                    return
                taken, batch = next_batch(self._spool.peek(MAX_ROWS))
            if self._send(batch):
                with self._wake:
                    for entry in self._spool.peek(taken):
                        self._count(entry, -1)
                    self._spool.ack(taken)
                    self._oldest = time.monotonic()
                    self._wake.notify_all()

    def _send(self, batch: Sequence[Entry]) -> bool:
        for entry in batch:
            try:
                result = self._deliver(entry)
            except Refused as error:
                self._refuse(entry, error)
            except Exception as error:  # noqa: BLE001 - whatever a store raises, the run goes on
                self._back_off(error)
                return False
            else:
                self._finish(entry, result, None)
        with self._wake:
            self._trouble, self._retry_at, self._retry_s = "", 0.0, 0.0
        return True

    def _refuse(self, entry: Entry, error: Refused) -> None:
        text = f"{entry.kind} of {entry.run}: {error}"
        with self._wake:
            self._num_refused += 1
            if len(self._refused) < _MAX_PROBLEMS:
                self._refused.append(text)
        self._finish(entry, None, TrackingError(text))

    def _finish(self, entry: Entry, result: Any, error: Exception | None) -> None:
        if self._done is not None:
            self._done(entry, result, error)

    def _back_off(self, error: Exception) -> None:
        with self._wake:
            self._trouble = f"{type(error).__name__}: {error}".strip().splitlines()[0][:500]
            self._retry_s = min(max(FIRST_RETRY_S, 2 * self._retry_s), LAST_RETRY_S)
            self._retry_at = time.monotonic() + self._retry_s

    def _count(self, entry: Entry, sign: int) -> None:
        if entry.kind == "metrics":
            self._rows += sign * len(entry.body["rows"])
        else:
            self._urgent += sign

    def _due(self) -> bool:
        return len(self._spool) > 0 and self._pause() == 0

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None if only a caller can change that."""
        if not len(self._spool):
            return None
        now = time.monotonic()
        if self._retry_at > now:
            return min(self._retry_at - now, 1.0) if self._hurry else self._retry_at - now
        if self._urgent > 0 or self._rows >= MAX_ROWS or self._hurry:
            return 0
        return max(0.0, self._oldest + BATCH_DELAY_S - now)


def next_batch(entries: Sequence[Entry]) -> tuple[int, list[Entry]]:
    """What goes out together: metrics from the front, one entry a run, or one entry of another kind.

    Returns:
        How many entries are taken, and what is delivered for them.
    """
    rows: dict[str, list[Any]] = {}
    num_rows = taken = 0
    for entry in entries:
        if entry.kind != "metrics" or (taken and num_rows + len(entry.body["rows"]) > MAX_ROWS):
            break
        rows.setdefault(entry.run, []).extend(entry.body["rows"])
        num_rows += len(entry.body["rows"])
        taken += 1
    if not taken:
        return 1, list(entries[:1])
    return taken, [Entry("metrics", run, {"rows": of_run}) for run, of_run in rows.items()]
