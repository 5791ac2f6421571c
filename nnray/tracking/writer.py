"""The one thread that writes to a store, so that no caller ever waits for it.

Entries go out in order. Metrics are gathered for up to a second or a hundred rows, and go out up to a
thousand at a time; all else goes at once. A store that fails is tried again, later and later, and nothing
is dropped: the entries stay in the spool. An entry that the store refuses for good is named among the
problems and passed over; so is one that it fails to take again and again while it answers otherwise.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nnray.errors import TrackingError
from nnray.tracking.reasons import reason
from nnray.tracking.spool import Entry, Spool

MAX_ROWS = 1_000
BATCH_ROWS = 100
BATCH_DELAY_S = 1.0
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
_HURRIED_RETRY_S = 1.0
STRIKES = 10
PATIENCE_S = 5.0
"""How long all waits together last while the store is in trouble; after that, each ``_LEAST_S``."""
_LEAST_S = 0.5
_HANGS_S = 5.0
"""An answer that takes longer is taken for none."""
_UPLOAD_HANGS_S = 20.0
_START_HANGS_S = 60.0
"""The first one: MLflow is imported for it, which takes a busy machine tens of seconds."""
_UPLOADS = ("model", "artifact")
_LOOK_S = 0.2
_MAX_PROBLEMS = 100


class Refused(Exception):
    """The store will never take this entry."""


class GivenUp(TrackingError):
    """An entry that the store failed to take, though it answered otherwise; it is set aside."""


class Deliver(Protocol):
    """Puts one entry into the store, or raises; ``Refused`` if trying again is of no use."""

    def __call__(self, entry: Entry, /) -> Any:
        """Deliver an entry; what it gives is handed to ``done``."""


Done = Callable[[Entry, Any, Exception | None], None]


class Writer:
    """A queue in front of a store, emptied by a thread of its own.

    Args:
        deliver: Puts an entry into the store; called in the writer's thread only.
        spool: Where entries wait; what is there already goes out first.
        done: Called with each entry that is stored, with the result, or refused, with the error.
        answers: Whether the store answers a question that any store can; called in the same thread.
    """

    def __init__(
        self,
        deliver: Deliver,
        spool: Spool,
        *,
        done: Done | None = None,
        answers: Callable[[], bool] | None = None,
    ) -> None:
        self._deliver, self._spool, self._done, self._answers = deliver, spool, done, answers
        self._wake = threading.Condition()
        self._rows = self._hurry = self._sent = 0
        self._urgent = len(spool)
        self._oldest = self._retry_at = self._retry_s = 0.0
        self._closing = False
        self._refused: list[str] = []
        self._num_refused = self._fails = self._strikes = 0
        self._trouble = ""
        self._busy: tuple[float, float] | None = None
        self._has_answered = False
        self._waits_began: float | None = None
        self._thread = threading.Thread(target=self._work, name="nnray-tracking", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Add an entry; returns at once."""
        with self._wake:
            if self._closing:
                raise TrackingError(f"{entry.kind} of {entry.run}: the tracker is closed; log before close()")
            if not len(self._spool):
                self._oldest = time.monotonic()
            try:
                self._spool.append(entry)
            except OSError as error:
                refusal: Exception | None = error
            else:
                refusal = None
                self._count(entry)
            self._wake.notify_all()
        if refusal is not None:
            self._refuse(entry, TrackingError(f"{entry.kind} of {entry.run} can't be kept: {refusal}"))

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``done()``, or the time is up, or the store has been in trouble for long enough."""
        with self._wake:
            self._hurry += 1
            self._retry_at = 0.0
            self._wake.notify_all()
            began = time.monotonic()
            while not done() and (left := self._left(began, timeout_s)) > 0:
                self._wake.wait(min(left, _LOOK_S))
            self._hurry -= 1
            return done()

    def flush(self, timeout_s: float) -> int:
        """Wait for the queue to be empty, as ``wait`` does; returns how many entries are left."""
        self.wait(lambda: not len(self._spool), timeout_s)
        return len(self._spool)

    def problems(self) -> tuple[str, ...]:
        """What was refused, and why the store can't be reached now."""
        with self._wake:
            hidden = self._num_refused - len(self._refused)
            more = (f"and {hidden} more refused",) if hidden else ()
            unsent = len(self._spool) if self._trouble or self._closing else 0
            down = (f"{unsent} records unsent: {self.why()}",) if unsent else ()
            return (*self._refused, *more, *down)

    def why(self) -> str:
        """Why there are unsent entries."""
        return self._trouble or "the store has not answered yet"

    def close(self, timeout_s: float) -> int:
        """Flush, then stop the thread; returns how many entries were never sent.

        A thread that hangs in the store is left to itself: it changes nothing any more.
        """
        self.flush(timeout_s)
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout=_LEAST_S)
        return len(self._spool)

    def _left(self, began: float, timeout_s: float) -> float:
        """Seconds that a wait may still take."""
        now = time.monotonic()
        if not self._in_trouble(now):
            return began + timeout_s - now
        if self._waits_began is None:
            self._waits_began = now
        until = max(self._waits_began + PATIENCE_S, began + _LEAST_S)
        return min(began + timeout_s, until) - now

    def _in_trouble(self, now: float) -> bool:
        """Whether the store is away or hangs, which is not the fault of one entry."""
        if self._strikes:
            return False
        return bool(self._trouble) or (self._busy is not None and now - self._busy[0] > self._busy[1])

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._closing or self._due()):
                    self._wake.wait(self._pause())
                if self._closing:
                    return
            try:
                taken, batch = next_batch(self._spool.peek(1 if self._strikes else MAX_ROWS))
            except OSError as error:
                self._back_off(error)
                continue
            if self._send(batch):
                self._ack(taken)

    def _ack(self, count: int) -> None:
        with self._wake:
            if self._closing:
                return
            rows = sum(len(_rows(entry)) for entry in self._spool.peek(count))
            self._spool.ack(count)
            self._rows = max(0, self._rows - rows)
            self._sent += count
            self._oldest = time.monotonic()
            self._wake.notify_all()

    def _send(self, batch: Sequence[Entry]) -> bool:
        for entry in batch:
            error, result = self._attempt(entry)
            with self._wake:
                self._busy = None
                if self._closing:
                    return False
            if isinstance(error, Refused):
                self._refuse(entry, TrackingError(f"{entry.kind} of {entry.run}: {error}"))
            elif error is not None:
                if not self._give_up(entry, error):
                    return False
            elif self._done is not None:
                self._done(entry, result, None)
        with self._wake:
            self._trouble, self._retry_at, self._retry_s = "", 0.0, 0.0
            self._waits_began, self._fails, self._strikes = None, 0, 0
        return True

    def _attempt(self, entry: Entry) -> tuple[Exception | None, Any]:
        with self._wake:
            self._busy = (time.monotonic(), self._patience(entry))
        try:
            result = self._deliver(entry)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, the run goes on
            return error, None
        self._has_answered = True
        return None, result

    def _patience(self, entry: Entry) -> float:
        if not self._has_answered:
            return _START_HANGS_S
        return _UPLOAD_HANGS_S if entry.kind in _UPLOADS else _HANGS_S

    def _give_up(self, entry: Entry, error: Exception) -> bool:
        """Back off; whether the entry was to blame, and not the store, so often that it is passed over."""
        self._back_off(error)
        self._fails += 1
        if self._fails > 1 and self._answers is not None:
            self._strikes = self._strikes + 1 if self._answers() else 0
        if self._strikes < STRIKES:
            return False
        with contextlib.suppress(OSError):
            self._spool.set_aside(entry)
        why = f"{entry.kind} of {entry.run}: the store failed {STRIKES} times to take it: {self._trouble}"
        self._refuse(entry, GivenUp(why))
        return True

    def _refuse(self, entry: Entry, error: TrackingError) -> None:
        with self._wake:
            self._num_refused += 1
            if len(self._refused) < _MAX_PROBLEMS:
                self._refused.append(str(error))
        if self._done is not None:
            self._done(entry, None, error)

    def _back_off(self, error: Exception) -> None:
        with self._wake:
            self._trouble = reason(error)
            self._retry_s = min(max(FIRST_RETRY_S, 2 * self._retry_s), LAST_RETRY_S)
            pause_s = min(self._retry_s, _HURRIED_RETRY_S) if self._hurry else self._retry_s
            self._retry_at = time.monotonic() + pause_s

    def _count(self, entry: Entry) -> None:
        self._rows += len(_rows(entry))
        if entry.kind != "metrics":
            self._urgent = self._sent + len(self._spool)

    def _due(self) -> bool:
        return len(self._spool) > 0 and self._pause() == 0

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None if only a caller can change that."""
        if not len(self._spool):
            return None
        now = time.monotonic()
        if self._retry_at > now:
            return self._retry_at - now
        if self._urgent > self._sent or self._rows >= BATCH_ROWS or self._hurry:
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
        of_entry = _rows(entry)
        if not of_entry or (taken and num_rows + len(of_entry) > MAX_ROWS):
            break
        rows.setdefault(entry.run, []).extend(of_entry)
        num_rows += len(of_entry)
        taken += 1
    if not taken:
        return 1, list(entries[:1])
    return taken, [Entry("metrics", run, {"rows": of_run}) for run, of_run in rows.items()]


def _rows(entry: Entry) -> Sequence[Any]:
    """The rows of metrics; none where an entry has others, or is damaged."""
    rows = entry.body.get("rows") if entry.kind == "metrics" else ()
    return rows if isinstance(rows, list | tuple) else ()
