"""Ray actors that train clients: persistent, one model in each, called once a round.

Weights go out once a round, and each actor answers with one partial sum. Examples stand once in each node's
shared memory. An actor that dies is replaced and its clients are trained again, which changes nothing of the
result; so is one whose client takes longer than it may, and that client has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from nnray.errors import ClusterError
from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.placement import assign
from nnray.federated.strategy import Vectors
from nnray.federated.weights import Weights
from nnray.metrics import MetricSums
from nnray.runners.federated.actor import Actor, share_tensors
from nnray.runners.federated.costs import Costs
from nnray.runners.federated.crew import Parts, States, clients_with_held, in_order, num_blocks
from nnray.runners.federated.gathering import Arguments, Gathering
from nnray.runners.federated.parties import Masking
from nnray.runners.federated.setting import Setting
from nnray.runners.federated.stacking import Cutter
from nnray.runners.federated.worker import NOBODY, Busy

_ANSWER_S = 5.0
"""How long an actor may take to say whom it is at; then it is taken to be stuck."""
_DEATHS = 20
"""Of actors in a run, after which it is the cluster that is at fault."""


class Pool:
    """A crew of actors; a context, in which they live.

    Args:
        setting: Of the run.
        workers: How many.
        cpus: That each one takes.
        gpus: Likewise.
        deadline_s: Longest time that a client may take; None for any.
        search: Folders in which the experiment's own modules are found.
        on_fault: Told of each actor that was lost.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        workers: int,
        cpus: float,
        gpus: float,
        deadline_s: float | None,
        search: Sequence[str],
        on_fault: Callable[[str], None],
    ) -> None:
        share_tensors()
        self._setting, self._deadline_s, self._on_fault = setting, deadline_s, on_fault
        self._options = {"num_cpus": cpus, "num_gpus": gpus}
        self._search, self._costs, self._deaths = list(search), Costs(setting.population), 0
        self._shared, self._cut = ray.put(setting), Cutter(setting)
        self._actors: list[Any] = [None] * workers
        self._begun: list[Any] = [None] * workers
        for place in range(workers):
            self._start(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def train(
        self, start: RoundStart, clients: Sequence[int], states: States, *, masking: Masking | None = None
    ) -> Outcome:
        """Train clients, each actor its share of the blocks; the longest first."""
        begin, blocks = ray.put(start), {block[0]: block for block in self._cut(clients)}
        costs = [sum(self._costs.of(client) for client in block) for block in blocks.values()]

        def make(own: Sequence[int]) -> tuple[Any, ...]:
            found = [blocks[first] for first in own]
            members = [client for block in found for client in block]
            return begin, found if masking is None else masking.of(members), _some(states, members)

        outcome, method = Outcome(), "train" if masking is None else "secure_train"
        shares = assign(list(blocks), costs, num_workers=len(self._actors))
        for part in self._gather(method, shares, make, deadline_s=self._deadline_s):
            if isinstance(part, Failed):
                lost = blocks.get(part.client, (part.client,))
                part = Outcome(failures=tuple(replace(part, client=client) for client in lost))
            outcome = outcome + part
        self._costs.learn(outcome.reports)
        self._deaths = 0  # what counts is whether rounds still come to an end
        return _owned(outcome)

    def ask(self, method: str, clients: Sequence[int], make: Arguments) -> list[tuple[int, Any] | Failed]:
        """Clients in turn; who costs actors again and again gives no answer."""
        found = self._gather(method, self._shares(clients), make)
        return [answer for part in found for answer in (part if isinstance(part, list) else [part])]

    def evaluate(self, weights: Weights, split: str) -> MetricSums:
        """Blocks in turn."""
        shares = self._shares(range(num_blocks(self._setting, split)))
        sent = ray.put(weights)
        return in_order(self._parts("evaluate", shares, lambda own: (sent, split, list(own))))

    def evaluate_clients(self, weights: Weights, states: States) -> Parts:
        """Clients in turn."""
        sent = ray.put(weights)
        shares = self._shares(clients_with_held(self._setting))
        return sorted(
            self._parts("evaluate_clients", shares, lambda own: (sent, list(own), _some(states, own))),
            key=lambda part: part[0],
        )

    def evaluate_personal(self, weights: Weights, split: str, states: States) -> MetricSums:
        """Clients in turn."""
        sent = ray.put(weights)
        shares = self._shares(sorted(states))
        return in_order(
            self._parts("evaluate_personal", shares, lambda own: (sent, split, _some(states, own)))
        )

    def _shares(self, items: Iterable[int]) -> list[list[int]]:
        ordered = list(items)
        return [ordered[place :: len(self._actors)] for place in range(len(self._actors))]

    def _parts(self, method: str, shares: list[list[int]], make: Arguments) -> Parts:
        found = self._gather(method, shares, make)
        for part in found:
            if isinstance(part, Failed):
                raise ClusterError(
                    f"{method}, part {part.client}: {part.error}; look at the cluster's logs and memory, or "
                    "lower training.eval_batch_size; `nnray resume` goes on from the last checkpoint"
                )
        return [part for parts in found for part in parts]

    def _start(self, place: int) -> None:
        actor = Actor.options(**self._options).remote(self._search)  # type: ignore[attr-defined]
        self._actors[place], self._begun[place] = actor, actor.begin.remote(self._shared)

    def _gather(
        self, method: str, shares: list[list[int]], make: Arguments, *, deadline_s: float | None = None
    ) -> list[Any]:
        gathering = Gathering(self, method, make, deadline_s)
        for place, items in enumerate(shares):
            if items:
                gathering.begin(place, items)
        return gathering.results()

    def submit(self, place: int, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method of the actor at a place."""
        return self._actors[place].call.remote(method, *args)

    def busy(self, place: int) -> Busy | None:
        """Whom an actor is at; None where it doesn't answer."""
        if not ray.wait([self._begun[place]], timeout=0)[0]:
            return Busy(NOBODY, 0.0)
        try:
            found: Busy = ray.get(self._actors[place].busy.remote(), timeout=_ANSWER_S)
        except (RayActorError, RayTaskError):
            return Busy(NOBODY, 0.0)  # its answer says so too
        except GetTimeoutError:
            return None
        return found

    def check(self, place: int) -> None:
        """Raise what an actor's start raised."""
        try:
            ray.get(self._begun[place])
        except RayTaskError as error:
            raise error.cause from error

    def replace(self, place: int, why: str) -> None:
        """Put another actor in the place of one that is lost."""
        self._deaths += 1
        self._on_fault(f"federated worker {place} was lost: {why}; it was started again")
        if self._deaths > _DEATHS:
            raise ClusterError(
                f"{self._deaths} federated workers were lost, the last one as {why}: look at the cluster's "
                "logs and memory; `nnray resume` goes on from the last checkpoint"
            )
        ray.kill(self._actors[place])
        self._start(place)


def _some(states: States, clients: Sequence[int]) -> dict[int, Vectors]:
    return {client: states[client] for client in clients if client in states}


def _owned(outcome: Outcome) -> Outcome:
    """With client states that don't keep an answer in the object store."""
    kept = {
        client: {name: tensor.clone() for name, tensor in state.items()}
        for client, state in outcome.kept.items()
    }
    return replace(outcome, kept=kept)
