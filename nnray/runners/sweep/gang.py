"""A trial that several processes train: rank 0 and its members, to the engine one worker.

Rank 0 is the trial's actor. It starts the members in the other bundles of its own placement group, and
keeps them and their process group from trial to trial. They train in step: an epoch is over once
all ranks have finished it, so that no collective is under way when a trial is stopped or handed on.

Whatever happens to a member fails the trial and names the rank. A rank that fails alone leaves
the process group, which ends the collectives that the others wait in; after any failure the group is made
anew. Members are owned by rank 0 and live in its placement group: they end with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

from nnray.runners.sweep.rendezvous import Meeting
from nnray.runners.sweep.trial import Failure, Outcome, Resting, Weights, Worker, describe

_LOST = (NodeDiedError, OutOfMemoryError, RayActorError)
_JITTER_S = 1.0
"""How much later than another a rank may fail for a reason of its own."""
_GRACE_S = 20.0
"""How long a rank may take to notice that another one has left; it calls the roll meanwhile."""


T = TypeVar("T")


class Peer(Protocol):
    """Another rank, as rank 0 sees it."""

    def call(self, method: str, /, *args: Any) -> Future[Any]:
        """Have it do something; calls are done one after another."""

    def kill(self) -> None:
        """End its process."""


class Room(Protocol):
    """Where ranks meet, as rank 0 sees it."""

    def call(self) -> Meeting:
        """Call a meeting; the one before is over."""

    def enter(self, meeting: Meeting) -> None:
        """Come to it, as rank 0."""

    def leave(self) -> None:
        """Leave it; others that wait for this rank are told by that."""


def _nothing() -> None:
    """What rank 0 has done already."""


class Gang:
    """Trains one trial after another, in several processes.

    Args:
        own: Trains here, as rank 0.
        size: How many ranks there are.
        start: Starts the member of a rank; it may still be starting when this comes back.
        room: Where they meet.
        timeout_s: How long a rank may keep the others waiting.
    """

    def __init__(
        self, own: Worker, *, size: int, start: Callable[[int], Peer], room: Room, timeout_s: float
    ) -> None:
        self._own, self._start, self._room, self._timeout_s = own, start, room, timeout_s
        self._trial: tuple[int, Mapping[str, Any]] | None = None
        self._is_met, self._is_prepared = False, False
        self._peers = {rank: start(rank) for rank in range(1, size)}
        self._size = size

    def begin(self, number: int, params: Mapping[str, Any]) -> None:
        """Take on a trial; whatever is wrong with it comes out in the next ``step``."""
        self._trial, self._is_prepared = (number, params), False
        self._own.begin(number, params)

    def step(self) -> Outcome:
        """Train one more epoch, on all ranks."""
        if self._own.is_over:
            return Resting()
        failure = self._prepare()
        return self._train() if failure is None else failure

    def rest(self) -> None:
        """Leave the trial where it stands; it will go on, here or elsewhere."""
        self._own.rest()
        self._tell("rest")

    def finish(self) -> Weights | None:
        """End the trial, and give the model that it came to; None if it has none."""
        self._tell("rest")
        return self._own.finish()

    def close(self) -> None:
        """End the members."""
        for peer in self._peers.values():
            peer.kill()
        self._peers.clear()
        self._room.leave()

    def _prepare(self) -> Failure | None:
        """Have all ranks meet and read the trial's data, before any of them waits for another."""
        if self._is_prepared:
            return None
        assert self._trial is not None
        for rank in range(1, self._size):
            if rank not in self._peers:
                self._peers[rank] = self._start(rank)
        failure = self._meet()
        if failure is None:
            failure = self._all("prepare", *self._trial, own=self._own.prepare)
        self._is_prepared = failure is None
        return failure

    def _meet(self) -> Failure | None:
        if self._is_met:
            return None
        self._room.leave()
        failure = self._all("leave", own=_nothing)
        if failure is not None:
            return failure
        try:
            meeting = self._room.call()
        except RuntimeError as error:
            return self._end(Failure(describe(error)), {})
        failure = self._all("enter", meeting, own=lambda: self._enter(meeting), timeout_s=self._timeout_s)
        self._is_met = failure is None
        return failure

    def _enter(self, meeting: Meeting) -> Failure | None:
        try:
            self._room.enter(meeting)
        except RuntimeError as error:
            return Failure(describe(error), is_echo=True)
        return None

    def _train(self) -> Outcome:
        return self._all("step", own=self._own.step, timeout_s=self._timeout_s)

    def _all(
        self,
        method: str,
        *args: Any,
        own: Callable[[], T],
        timeout_s: float | None = None,
    ) -> T | Failure:
        """Have all ranks do the same; gives rank 0's outcome, or what went wrong first.

        Args:
            method: The members'.
            args: For it.
            own: What rank 0 does.
            timeout_s: How much longer than rank 0 a member may take; None: as long as it lives.
        """
        calls = {rank: peer.call(method, *args) for rank, peer in self._peers.items()}
        with self._watched(calls) if timeout_s is not None else nullcontext():
            outcome = own()
        if isinstance(outcome, Failure):
            self._room.leave()
        wait(calls.values(), timeout=_GRACE_S if isinstance(outcome, Failure) else timeout_s)
        failure = _cause(outcome, calls)
        return outcome if failure is None else self._end(failure, calls)

    def _end(self, failure: Failure, calls: Mapping[int, Future[Any]]) -> Failure:
        """End the trial on all ranks; who can't be relied on any more is ended with it."""
        for rank, call in calls.items():
            if rank in self._peers and (not call.done() or isinstance(call.exception(), _LOST)):
                self._peers.pop(rank).kill()
        self._room.leave()
        self._own.rest()
        self._tell("rest")
        self._is_met = self._is_prepared = False
        return failure

    @contextmanager
    def _watched(self, calls: Mapping[int, Future[Any]]) -> Iterator[None]:
        """Have a member that fails inside the block not keep this rank waiting for it."""
        over: Future[None] = Future()
        watch = threading.Thread(target=self._watch, args=(calls, over), name="nnray-gang", daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set_result(None)
            watch.join()

    def _watch(self, calls: Mapping[int, Future[Any]], over: Future[None]) -> None:
        pending = dict(calls)
        while pending and not over.done():
            wait([over, *pending.values()], return_when=FIRST_COMPLETED)
            for rank in [rank for rank, call in pending.items() if call.done()]:
                if isinstance(_outcome(rank, pending.pop(rank)), Failure):
                    self._see_off(rank, over)
                    return

    def _see_off(self, rank: int, over: Future[None]) -> None:
        """Have a rank that has failed leave, unless this one comes to its own end.

        One that can't leave is ended; the next trial begins with another in its place.
        """
        if wait([over], timeout=_JITTER_S).done:
            return
        self._peers[rank].call("leave")
        if not wait([over], timeout=_GRACE_S).done:
            self._peers.pop(rank).kill()

    def _tell(self, method: str) -> None:
        for peer in self._peers.values():
            peer.call(method)


def _cause(own: Any, calls: Mapping[int, Future[Any]]) -> Failure | None:
    """What ended the trial; None where all went well.

    A process that was lost comes first, then what went wrong on a rank by itself. A rank that hangs may only
    wait for one of those, and in an echo another rank is heard.
    """
    told = [(own, 0), *((_outcome(rank, call), rank) for rank, call in calls.items() if call.done())]
    failed = [(failure, rank) for failure, rank in told if isinstance(failure, Failure)]
    failed.sort(key=lambda found: (not found[0].is_death, found[0].is_echo))
    hung = [rank for rank, call in calls.items() if not call.done()]
    if hung and all(failure.is_echo for failure, _ in failed):
        return Failure(f"WorkerDied: rank {hung[0]} hung: it kept the other ranks waiting", is_death=True)
    if not failed:
        return None
    failure, rank = failed[0]
    return (
        replace(failure, reason=f"{failure.reason} (rank {rank})")
        if rank and not failure.is_death
        else failure
    )


def _outcome(rank: int, call: Future[Any]) -> Any:
    """What came of a call: as the member gave it, or how the member was lost."""
    error = call.exception()
    if isinstance(error, _LOST):
        return Failure(f"WorkerDied: rank {rank}: {_how(error)}", is_death=True)
    return call.result() if error is None else Failure(describe(error))


def _how(error: BaseException) -> str:
    if isinstance(error, OutOfMemoryError) or "low on memory" in str(error):
        return "its process was ended because the machine was running out of memory"
    return "its process ended unexpectedly: it was killed, crashed, or ran out of memory"
