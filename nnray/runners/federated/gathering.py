"""One call of every actor of a pool, until all that was asked is done or has failed.

Actors that die or hang are replaced. What they were at is done again from its beginning, by the same
seeds; if it costs another actor too, client by client, so that the one that kills is known and alone fails.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayTaskError

from nnray.federated.outcome import Failed
from nnray.runners.federated.worker import NOBODY, Busy

_DEATHS = 2
"""Of actors at the same clients, after which these are trained one by one."""

Arguments = Callable[[Sequence[int]], tuple[Any, ...]]
"""From clients, or blocks, to what a call is given."""


class Actors(Protocol):
    """What calls are made of."""

    def submit(self, place: int, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method of the actor at a place."""

    def busy(self, place: int) -> Busy | None:
        """Whom an actor is at; None where it doesn't answer."""

    def check(self, place: int) -> None:
        """Raise what an actor's start raised."""

    def replace(self, place: int, why: str) -> None:
        """Put another actor in the place of one that is lost."""


@dataclass(slots=True)
class Task:
    """Work that one actor is at.

    Args:
        place: Of the actor.
        items: What the work is made of: clients, or blocks.
        began: When it was asked for, by the monotonic clock.
    """

    place: int
    items: list[int]
    began: float = field(default_factory=lambda: time.monotonic())


@dataclass(slots=True)
class Gathering:
    """Calls that are under way.

    Args:
        actors: Who is called.
        method: Of a worker.
        make: Gives the arguments, of the items.
        deadline_s: Longest time at one item; None for any.
        found: What has come back.
        tasks: What actors are at, by the answer that they owe.
        waiting: What comes after that, at the same place.
        deaths: Of actors at the same items.
    """

    actors: Actors
    method: str
    make: Arguments
    deadline_s: float | None
    found: list[Any] = field(default_factory=list)
    tasks: dict[Any, Task] = field(default_factory=dict)
    waiting: list[Task] = field(default_factory=list)
    deaths: Counter[tuple[int, ...]] = field(default_factory=Counter)

    def begin(self, place: int, items: list[int]) -> None:
        """Have an actor do some of the items."""
        ref = self.actors.submit(place, self.method, self.make(items))
        self.tasks[ref] = Task(place, items)

    def results(self) -> list[Any]:
        """What each part came to; a client that failed stands for itself."""
        while self.tasks:
            ready, _ = ray.wait(list(self.tasks), timeout=self._patience_s())
            for ref in ready:
                self._take(ref, self.tasks.pop(ref))
            if not ready:
                self._cut_off()
        return self.found

    def _take(self, ref: Any, task: Task) -> None:
        try:
            self.found.append(ray.get(ref))
        except RayActorError as error:
            self._again(task, _reason(error))
        except RayTaskError as error:
            self.actors.check(task.place)
            raise error.cause from error  # itself: Ray's own kind would print a traceback for a message
        else:
            self._next(task.place)

    def _again(self, task: Task, why: str) -> None:
        """Another actor takes the items; one by one, where they have cost too many actors."""
        self.actors.replace(task.place, why)
        key = tuple(task.items)
        self.deaths[key] += 1
        if self.deaths[key] < _DEATHS:
            self.begin(task.place, task.items)
        elif len(task.items) > 1:
            self.waiting += [Task(task.place, [item]) for item in task.items]
            self._next(task.place)
        else:
            self.found.append(Failed(task.items[0], f"its worker was lost {_DEATHS} times: {why}"))
            self._next(task.place)

    def _next(self, place: int) -> None:
        own = next((task for task in self.waiting if task.place == place), None)
        if own is not None:
            self.waiting.remove(own)
            self.begin(place, own.items)

    def _patience_s(self) -> float | None:
        return None if self.deadline_s is None else max(0.05, self.deadline_s / 4)

    def _cut_off(self) -> None:
        """End actors whose client has taken too long."""
        assert self.deadline_s is not None
        for ref, task in list(self.tasks.items()):
            busy = self.actors.busy(task.place)
            if busy is None and time.monotonic() - task.began <= self.deadline_s:
                continue  # it may be at something that holds Python's lock, and still in time
            if busy is None or (busy.client != NOBODY and busy.seconds > self.deadline_s):
                self._end(ref, task, busy)

    def _end(self, ref: Any, task: Task, busy: Busy | None) -> None:
        del self.tasks[ref]
        if busy is None and len(task.items) > 1:
            return self._again_one_by_one(task)
        late = task.items[0] if busy is None else busy.client
        self.found.append(Failed(late, f"took longer than federated.deadline_s, {self.deadline_s:g} s"))
        self.actors.replace(task.place, f"client {late} took too long")
        rest = [item for item in task.items if item != late]
        return self.begin(task.place, rest) if rest else self._next(task.place)

    def _again_one_by_one(self, task: Task) -> None:
        self.actors.replace(task.place, "it did not answer")
        self.waiting += [Task(task.place, [item]) for item in task.items]
        self._next(task.place)


def _reason(error: RayActorError) -> str:
    """The line of Ray's long text that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = (line for line in lines if line.lower().startswith(("worker exit", "the actor is dead")))
    return next(told, lines[0]).partition(" Some common causes")[0]
