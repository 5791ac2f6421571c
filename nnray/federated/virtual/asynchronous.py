"""Rounds without a cohort: the server steps whenever enough updates have come, whatever they began with.

So many clients are at work at any time; one that comes to its end is followed by another at once. Clients are
trained when their updates are needed, those that began with the same weights together. An update that can't
be trained, or whose client was lost, is named, and the next one to come takes its place.

Everything in flight stands in ``RoundState.server`` as tensors: who is at work until when, and with which
weights.

Source: Nguyen et al. 2022, "Federated learning with buffered asynchronous aggregation", algorithm 1; with a
    buffer of one, Xie et al. 2019, "Asynchronous federated optimization", algorithm 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnray.errors import ClientFailure, ConfigError, Problem
from nnray.federated.around import joined, other_part, own_part
from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.rounds import Fault, Policy, RoundReport, RoundState, TrainClients, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import Strategy, traits
from nnray.federated.virtual.clock import Clock, Task
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.part import part_of, told
from nnray.federated.virtual.report import Event, Kind, TimedReport, timed
from nnray.federated.virtual.synchronous import PREFIX
from nnray.federated.virtual.versions import BEHIND, Versions

_FUTILE = 10_000
"""Clients in a row that come to nothing; with a dropout of 0.99 that happens in one run of 1e43."""


def async_rounds(
    state: RoundState,
    strategy: Strategy,
    *,
    num_rounds: int,
    train_clients: TrainClients,
    devices: Devices,
    num_steps: Callable[[int], int],
    concurrency: int,
    buffer: int,
    max_staleness: int | None = None,
    seed: int = 0,
    policy: Policy | None = None,
    lr_of: Callable[[int], float | None] = lambda number: None,
) -> Iterator[TimedReport]:
    """Run steps of the server until so many are finished; begins after the last that ``state`` has finished.

    Args:
        state: Where to begin, with what was in flight.
        strategy: The algorithm.
        num_rounds: Steps of the server, to finish.
        train_clients: Who trains clients; it knows what they keep.
        devices: One for each client.
        num_steps: That each client takes.
        concurrency: Clients that are at work at the same time.
        buffer: Updates that make a step.
        max_staleness: Steps of the server after which an update is of no use; None: any is.
        seed: Of the experiment.
        policy: Whether a client that fails when it trains is trained again first, or ends the run.
        lr_of: Learning rate of clients that begin in a round.

    Raises:
        ConfigError: There are too few clients, or the strategy has no weights for all of them.
        ClientFailure: Nobody comes to an end, or as many fail as are at work; each one is named.
    """
    problems = async_problems(strategy, num_clients=len(devices), concurrency=concurrency, buffer=buffer)
    if problems:
        raise ConfigError("this experiment", problems)
    bare = replace(state, server=other_part(state.server, PREFIX))
    part = part_of(bare, strategy, num_steps=num_steps, seed=seed)
    clock, versions = Clock(devices, part, concurrency=concurrency, seed=seed), Versions(strategy)
    if saved := own_part(state.server, PREFIX):
        clock.load(saved)
        versions.load(saved)
    versions.add(bare)
    run = _Run(strategy, clock, versions, train_clients, lr_of, policy or Policy(), buffer, max_staleness)
    while bare.round < num_rounds:
        report = _Step(run, bare).report()
        bare = report.state
        clock.step()
        versions.add(bare)
        versions.keep(clock.versions | {bare.round})
        flight = clock.dump() | versions.dump(clock.versions)
        yield replace(report, state=replace(bare, server=joined(bare.server, flight, prefix=PREFIX)))


def async_problems(strategy: Strategy, *, num_clients: int, concurrency: int, buffer: int) -> list[Problem]:
    """What stands against training without a cohort; nothing, if all is well.

    Args:
        strategy: The algorithm.
        num_clients: That there are.
        concurrency: Clients that are at work at the same time.
        buffer: Updates that make a step.
    """
    said, found = traits(strategy), []
    if said.pooled or said.is_personal:
        found.append(
            Problem("federated.strategy", "has no weights that clients share: take fedbuff or fedasync")
        )
    for name, value in (("concurrency", concurrency), ("buffer", buffer)):
        if not 1 <= value <= num_clients:
            text = f"must be from 1 to the number of clients, which is {num_clients} (got {value})"
            found.append(Problem(f"federated.asynchronous.{name}", text))
    return found


@dataclass(frozen=True, slots=True)
class _Run:
    """What all steps have in common."""

    strategy: Strategy
    clock: Clock
    versions: Versions
    train_clients: TrainClients
    lr_of: Callable[[int], float | None]
    policy: Policy
    buffer: int
    max_staleness: int | None


class _Step:
    """One step of the server: clients come until the buffer is full."""

    def __init__(self, run: _Run, state: RoundState) -> None:
        self._run, self._state = run, state
        self._waiting: dict[int, int] = {}
        self._untrained: list[int] = []
        self._outcome, self._weights = Outcome(), dict[int, int]()
        self._faults: list[Fault] = []
        self._log: list[Event] = []
        self._failures, self._futile = 0, 0

    def report(self) -> TimedReport:
        """Go on until the server has stepped."""
        clock, began_s = self._run.clock, time.perf_counter()
        began = clock.now
        while len(self._waiting) < self._run.buffer:
            self._take()
            if len(self._waiting) == self._run.buffer:
                self._train_waiting()
        report = self._stepped()
        number = report.state.round
        self._log.append(Event(clock.now, "steps", -1, number))
        return timed(
            report,
            began=began,
            ended=clock.now,
            faults=(*self._faults, *report.faults),
            seconds=time.perf_counter() - began_s,
            events=tuple(self._log),
            staleness=tuple(number - 1 - self._waiting[client.client] for client in report.reports),
        )

    def _take(self) -> None:
        """The next client that comes to its end: its update waits, or is named and done with."""
        number, oldest = self._state.round, self._run.max_staleness
        task = self._run.clock.next_task(number, waiting=self._waiting, log=self._log)
        if task.kind != "comes":
            self._lose(task, task.kind)
        elif oldest is not None and number - task.version > oldest:
            self._log.append(Event(task.ends, "is too old", task.client, task.version))
            self._lose(task, "is too old")
        else:
            self._waiting[task.client] = task.version
            self._untrained.append(task.client)
            self._futile = 0

    def _lose(self, task: Task, kind: Kind) -> None:
        error = told(kind, began=task.begins, ended=task.ends)
        self._faults.append(Fault(Failed(task.client, error), "replaced"))
        self._futile += 1
        if self._futile == _FUTILE:
            self._give_up(f"the last {_FUTILE} clients came to nothing in virtual time: look at dropouts, "
                          "hours and speeds of federated.devices")  # fmt: skip

    def _train_waiting(self) -> None:
        """Train those in the buffer that were not trained yet; who fails has to leave it."""
        start = RoundStart(round=self._state.round + 1, weights=self._state.weights, bits=self._state.bits)
        outcome = self._train(start, self._untrained)
        if outcome.failures and self._run.policy.on_error == "retry":
            self._note(outcome, "retried")
            again = self._train(start, sorted(failed.client for failed in outcome.failures))
            outcome = replace(outcome, failures=()) + again
        fails = self._run.policy.on_error == "fail"
        self._note(outcome, "given up" if fails else "replaced")
        self._failures += len(outcome.failures)
        if outcome.failures and (fails or self._failures >= self._run.clock.concurrency):
            self._give_up("federated.on_client_error is fail" if fails else
                          f"{self._failures} clients failed, as many as are at work")  # fmt: skip
        for failed in outcome.failures:
            del self._waiting[failed.client]
        self._outcome = self._outcome + replace(outcome, failures=())
        self._untrained = []

    def _train(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        """Train clients, each from the weights that it was sent."""
        outcome, run = Outcome(), self._run
        for version in sorted({self._waiting[client] for client in clients}):
            own = sorted(client for client in clients if self._waiting[client] == version)
            begin = run.versions.start(version, now=self._state, lr=run.lr_of(version + 1), room=run.buffer)
            part = run.train_clients(replace(begin, bits=start.bits), own)
            if "delta" in part.sums.vectors:
                weight = part.sums.vectors["delta"].weight
                self._weights[version] = self._weights.get(version, 0) + weight
            outcome = outcome + part
        return outcome

    def _stepped(self) -> RoundReport:
        """What the server's step comes to: a round of those in the buffer, who are trained already."""
        run, state, first = self._run, self._state, [self._outcome]
        if BEHIND in state.server:
            behind = run.versions.behind(self._weights, state.weights.params)
            state = replace(state, server={**state.server, BEHIND: behind})
        come = Cohort(np.array(sorted(self._waiting), dtype=np.int64), np.array([], dtype=np.int64))
        (report,) = rounds(
            state,
            run.strategy,
            num_rounds=state.round + 1,
            draw=lambda number: come,
            # Asked again, it is because the sums need other bits.
            train_clients=lambda start, clients: first.pop() if first else self._train(start, clients),
            population=run.clock.population,
            policy=run.policy,
            lr_of=run.lr_of,
        )
        return report

    def _note(self, outcome: Outcome, fate: str) -> None:
        self._faults += [Fault(f, fate) for f in sorted(outcome.failures, key=lambda failed: failed.client)]

    def _give_up(self, why: str) -> None:
        named = "\n".join(
            f"  client {f.failed.client}: {f.failed.error} ({f.fate})" for f in self._faults[-10:]
        )
        raise ClientFailure(f"round {self._state.round + 1}: {why}; the last ones:\n{named}")
