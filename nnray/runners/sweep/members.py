"""The other ranks of a gang: actors in the bundles of their trial's placement group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import get_current_placement_group, get_node_ip_address
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from nnray.runners.sweep.gang import Gang
from nnray.runners.sweep.rendezvous import Meeting, Rendezvous, enter, leave
from nnray.runners.sweep.trial import Failure, Outcome, Trainer, Worker, WorkerSpec


class Member:
    """A rank in a process of its own.

    Args:
        rank: From 1.
        spec: Of its worker.
        make_trainer: Makes what trains.
    """

    def __init__(self, rank: int, spec: WorkerSpec, make_trainer: Callable[[WorkerSpec], Trainer]) -> None:
        self._rank, self._worker = rank, Worker(spec, make_trainer)

    def enter(self, meeting: Meeting) -> None:
        """Become a rank of the process group."""
        address = get_node_ip_address()  # type: ignore[no-untyped-call]
        enter(meeting, self._rank, address=address)

    def leave(self) -> None:
        """Leave the process group."""
        self._worker.rest()
        leave()

    def prepare(self, number: int, params: Mapping[str, Any]) -> Failure | None:
        """Take on a trial, and read its data."""
        self._worker.begin(number, params)
        return self._worker.prepare()

    def step(self) -> Outcome:
        """Train one more epoch."""
        return self._worker.step()

    def rest(self) -> None:
        """Leave the trial where it stands."""
        self._worker.rest()


@dataclass(frozen=True, slots=True)
class ActorPeer:
    """A member as rank 0 sees it.

    Args:
        actor: Its handle; owned here, so that it ends with this process.
    """

    actor: Any

    def call(self, method: str, /, *args: Any) -> Future[Any]:
        """Have it do something."""
        called: Future[Any] = getattr(self.actor, method).remote(*args).future()
        return called

    def kill(self) -> None:
        """End its process."""
        ray.kill(self.actor)


def form_gang(spec: WorkerSpec, make_trainer: Callable[[WorkerSpec], Trainer]) -> Gang:
    """A gang whose rank 0 is this actor, with members in its placement group.

    Args:
        spec: Of the workers.
        make_trainer: Makes what trains, in each of them.
    """
    parallel = spec.experiment.parallel
    assert parallel is not None
    group, address = get_current_placement_group(), get_node_ip_address()  # type: ignore[no-untyped-call]
    assert group is not None
    made = ray.remote(Member)

    def start(rank: int) -> ActorPeer:
        place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
        options = made.options(
            num_cpus=parallel.cpus_per_worker, num_gpus=parallel.gpus_per_worker, scheduling_strategy=place
        )
        return ActorPeer(options.remote(rank, spec, make_trainer))

    room = Rendezvous(
        address,
        size=parallel.workers,
        gpus=parallel.gpus_per_worker,
        timeout_s=parallel.timeout_s,
    )
    own = Worker(spec, make_trainer)
    return Gang(own, size=parallel.workers, start=start, room=room, timeout_s=parallel.timeout_s)
