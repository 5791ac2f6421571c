"""Rounds in virtual time: a round lasts until the last client that it needs has come.

All that are drawn begin, spares too, each as soon as it is there; as many as were chosen are needed, and the
first to come are taken. Who comes after the deadline, drops out or leaves is named and left out; who would
have come when enough were there is not waited for, and is no fault.

Source: Bonawitz et al. 2019, "Towards federated learning at scale", section 2.2: over-selection, time limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from nnray.errors import ClientFailure
from nnray.federated.around import joined, other_part, own_part
from nnray.federated.outcome import Failed
from nnray.federated.rounds import Fault, Policy, RoundState, TrainClients, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import Strategy
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.part import Part, end_of, part_of, told
from nnray.federated.virtual.report import Event, Kind, TimedReport, timed
from nnray.federated.virtual.windows import micros

PREFIX = "virtual"
"""Of what stands in ``RoundState.server`` beside what the strategy keeps there."""


def timed_rounds(
    state: RoundState,
    strategy: Strategy,
    *,
    num_rounds: int,
    draw: Callable[[int], Cohort],
    train_clients: TrainClients,
    devices: Devices,
    num_steps: Callable[[int], int],
    deadline_s: float | None = None,
    seed: int = 0,
    policy: Policy | None = None,
    lr_of: Callable[[int], float | None] = lambda number: None,
) -> Iterator[TimedReport]:
    """Run rounds as ``rounds`` does, of those clients that come in time.

    Args:
        state: Where to begin.
        strategy: The algorithm.
        num_rounds: To finish.
        draw: The cohort of a round; its spares begin, too.
        train_clients: Who trains clients.
        devices: One for each client.
        num_steps: That each client takes.
        deadline_s: Virtual seconds after which a round waits no longer; None: for ever.
        seed: Of the experiment.
        policy: What becomes of clients that fail when they train; too few that come end the run as well.
        lr_of: Learning rate of the clients in a round.

    Raises:
        ClientFailure: Too few clients came; each one is named.
    """
    policy = policy or Policy()
    part = part_of(_bare(state), strategy, num_steps=num_steps, seed=seed)
    while state.round < num_rounds:
        number, began = state.round + 1, _clock(state)
        cohort = draw(number)
        race = _Race(devices, part, cohort, number=number, began=began, seed=seed)
        result = race.result(None if deadline_s is None else began + micros(deadline_s))
        _require_enough(result, cohort, policy, number=number)
        (report,) = rounds(
            _bare(state),
            strategy,
            num_rounds=number,
            draw={number: result.cohort}.__getitem__,
            train_clients=train_clients,
            population=len(devices),
            policy=policy,
            lr_of=lr_of,
        )
        clock = {"clock": torch.tensor(result.ended)}
        state = replace(report.state, server=joined(report.state.server, clock, prefix=PREFIX))
        step = Event(result.ended, "steps", -1, number)
        yield timed(
            report, began=began, ended=result.ended, state=state, cohort=cohort,
            faults=result.faults + report.faults, events=(*result.events, step),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Result:
    """Who came: the chosen of the cohort count, its spares came later but in time."""

    cohort: Cohort
    faults: tuple[Fault, ...]
    events: tuple[Event, ...]
    ended: int


class _Race:
    """The clients of a round, and when each of them comes to its end."""

    def __init__(
        self, devices: Devices, part: Part, cohort: Cohort, *, number: int, began: int, seed: int
    ) -> None:
        clients = np.concatenate([cohort.chosen, cohort.spares])
        self._needed, self._began, self._number = len(cohort), began, number
        begins = np.full(len(clients), began)
        if devices.windows is not None:
            begins = devices.windows.next_begin(clients, began)
        self._begins = dict(zip(clients.tolist(), begins.tolist(), strict=True))
        ends = {
            client: end_of(devices, client, part=part, begin=begin, seed=seed, path=("round", number, client))
            for client, begin in self._begins.items()
        }
        # Sorting is stable: of those that end at once, the chosen come before the spares.
        self._ends = sorted(ends.items(), key=lambda item: item[1].time)

    def result(self, deadline: int | None) -> _Result:
        """Who is taken, and when the round is over."""
        came: list[int] = []
        events = [self._event(begin, "begins", client) for client, begin in self._begins.items()]
        ended = self._began
        lost: dict[int, Kind] = {}
        for client, end in self._ends:
            if len(came) == self._needed:
                break
            if deadline is not None and end.time > deadline:
                lost[client], ended = "is late", deadline
                continue
            ended = end.time
            if end.kind == "comes":
                came.append(client)
            else:
                lost[client] = end.kind
            events.append(self._event(end.time, end.kind, client))
        events += [self._event(ended, kind, client) for client, kind in lost.items() if kind == "is late"]
        happened = sorted((event for event in events if event.time <= ended), key=lambda event: event.time)
        return _Result(self._taken(came, ended), self._faults(lost, ended), tuple(happened), ended)

    def _taken(self, came: list[int], ended: int) -> Cohort:
        """Those that came; for one that fails when it trains, another that has come by then."""
        spare = [c for c, end in self._ends if end.kind == "comes" and end.time <= ended and c not in came]
        return Cohort(np.array(sorted(came), dtype=np.int64), np.array(spare, dtype=np.int64))

    def _faults(self, lost: dict[int, Kind], ended: int) -> tuple[Fault, ...]:
        ends = dict(self._ends)
        return tuple(
            Fault(Failed(client, told(kind, began=self._begins[client],
                                      ended=ended if kind == "is late" else ends[client].time)), "dropped")
            for client, kind in sorted(lost.items())
        )  # fmt: skip

    def _event(self, time: int, kind: Kind, client: int) -> Event:
        return Event(time, kind, client, self._number - 1)


def _require_enough(result: _Result, cohort: Cohort, policy: Policy, *, number: int) -> None:
    came, least = len(result.cohort), policy.min_updates
    if len(cohort) and came < least:
        named = "\n".join(f"  client {fault.failed.client}: {fault.failed.error}" for fault in result.faults)
        raise ClientFailure(
            f"round {number}: {came} of {len(cohort)} clients came in virtual time, federated.min_updates is "
            f"{least}: raise the deadline, or federated.over_select:\n{named}"
        )


def _bare(state: RoundState) -> RoundState:
    return replace(state, server=other_part(state.server, PREFIX))


def _clock(state: RoundState) -> int:
    """Microseconds from the beginning of the run."""
    found = own_part(state.server, PREFIX)
    return int(found["clock"]) if found else 0
