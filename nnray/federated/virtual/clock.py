"""The event clock: who is at work, who comes next, and who begins where a place is free.

All that ends at a moment ends before anybody begins at it, and of what ends at the same moment, what began
first. So what happens follows from devices and seed alone. A clock is all in tensors, to go on from there.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from nnray.federated.sampling import uniform
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.part import Part, end_of
from nnray.federated.virtual.report import Event, Kind
from nnray.seeding import numpy_rng

_FIRST_LOOK = 16
"""Candidates beyond the free places that are drawn at first."""
_KINDS: tuple[Kind, ...] = get_args(Kind)
"""Saved by their place here."""


class Task(NamedTuple):
    """A client at work; tasks sort by when they end, then by when they began.

    Args:
        ends: When, in microseconds from the beginning of the run.
        sequence: Its number among all that began.
        client: Who.
        version: Rounds that were finished when it began.
        kind: How it ends.
        begins: When it began.
    """

    ends: int
    sequence: int
    client: int
    version: int
    kind: Kind
    begins: int


class Clock:
    """Virtual time of a run in which clients come one by one.

    Args:
        devices: One for each client.
        part: What is asked of them.
        concurrency: Places: clients that are at work at the same time.
        seed: Of the experiment.
    """

    def __init__(self, devices: Devices, part: Part, *, concurrency: int, seed: int) -> None:
        self._devices, self._part, self._seed = devices, part, seed
        self.concurrency, self.population = concurrency, len(devices)
        self._tasks: list[Task] = []
        self.now, self._sequence, self._draws = 0, 0, 0

    def next_task(self, version: int, *, waiting: Collection[int], log: list[Event]) -> Task:
        """The next client that comes to its end, after free places were taken by others.

        Args:
            version: Rounds finished.
            waiting: Clients whose updates wait: they don't begin again before these are used.
            log: Grows by what happens.
        """
        while not (self._tasks and self._tasks[0].ends == self.now):
            wakes = self._fill(version, waiting, log)
            ends = [self._tasks[0].ends] if self._tasks else []
            assert ends or wakes, "nobody is at work, and nobody ever comes"
            self.now = min(ends + wakes)
        task = heapq.heappop(self._tasks)
        log.append(Event(self.now, task.kind, task.client, task.version))
        return task

    def step(self) -> None:
        """The server has stepped: the next clients are drawn for another round."""
        self._draws = 0

    @property
    def versions(self) -> set[int]:
        """Those that clients are at work with."""
        return {task.version for task in self._tasks}

    def dump(self) -> dict[str, Tensor]:
        """All of it, after a step."""
        numbers = [(*task[:4], _KINDS.index(task.kind), task.begins) for task in sorted(self._tasks)]
        tasks = torch.tensor(numbers, dtype=torch.int64).reshape(-1, len(Task._fields))
        return {"clock": torch.tensor([self.now, self._sequence]), "tasks": tasks}

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """The inverse of ``dump``."""
        self.now, self._sequence = saved["clock"].tolist()
        # A sorted list is a heap.
        self._tasks = [_task(*row) for row in saved["tasks"].tolist()]

    def _fill(self, version: int, waiting: Collection[int], log: list[Event]) -> list[int]:
        """Have clients begin where places are free; gives when others are there, if some are still free."""
        free = self.concurrency - len(self._tasks)
        if not free:
            return []
        busy = {task.client for task in self._tasks} | set(waiting)
        chosen = self._chosen(min(free, self.population), version, busy)
        for client in chosen:
            self._begin(client, version)
            log.append(Event(self.now, "begins", client, version))
        return [] if len(chosen) == free else self._wakes(busy | set(chosen))

    def _chosen(self, count: int, version: int, busy: Collection[int]) -> list[int]:
        """Clients that are there and not busy, as drawn; the first draw of a round is that of its cohort."""
        again = [self._draws] if self._draws else []
        self._draws += 1
        most = self.population - count
        spare = min(most, _FIRST_LOOK)
        while True:
            drawn = uniform(
                self.population,
                numpy_rng(self._seed, "cohort", version + 1, *again),
                cohort=count,
                spare=spare,
            )
            order = np.concatenate([drawn.chosen, drawn.spares])
            if self._devices.windows is not None:
                order = order[self._devices.windows.next_begin(order, self.now) == self.now]
            found = [client for client in order.tolist() if client not in busy]
            if len(found) >= count or spare == most:
                return found[:count]
            spare = min(most, 4 * spare)

    def _begin(self, client: int, version: int) -> None:
        end = end_of(
            self._devices,
            client,
            part=self._part,
            begin=self.now,
            seed=self._seed,
            path=("sequence", self._sequence),
        )
        heapq.heappush(self._tasks, Task(end.time, self._sequence, client, version, end.kind, self.now))
        self._sequence += 1

    def _wakes(self, busy: Collection[int]) -> list[int]:
        """When the first of the clients that are neither busy nor there will be; nothing if there is none."""
        if self._devices.windows is None or len(busy) == self.population:
            return []
        begins = self._devices.windows.next_begin(np.arange(self.population), self.now)
        begins[list(busy)] = np.iinfo(np.int64).max
        return [int(begins.min())]


def _task(ends: int, sequence: int, client: int, version: int, kind: int, begins: int) -> Task:
    return Task(ends, sequence, client, version, _KINDS[kind], begins)
