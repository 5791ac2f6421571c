"""The rounds of a federated run. There is one loop; who trains the clients is a function.

It decides who takes part, what becomes of clients that fail, and what the weights are next. A round's outcome
depends on the state before it and on the clients that came to an update: on nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch

from nnray.errors import ClientFailure, DivergedError, UserCodeError
from nnray.federated.exact import Bits, judge
from nnray.federated.outcome import BUFFERS, ClientReport, Failed, Outcome, RoundStart
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import Means, Message, Strategy, Vectors, shared_part, traits
from nnray.federated.weights import Weights

OnError = Literal["retry", "drop", "fail"]
_SUMMED_AGAIN = 3
"""Sums of a round until their bits are right: too few, then too many by how many, then as many as fit."""


@dataclass(frozen=True, slots=True)
class RoundState:
    """All that goes from one round to the next, but for what clients keep.

    Args:
        round: Rounds finished.
        weights: The server's.
        server: What the strategy keeps there.
        bits: That the next round is summed with.
    """

    round: int
    weights: Weights
    server: Vectors
    bits: Bits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of clients that come to no update.

    Args:
        on_error: Train them once more and then give up the run; leave them out; or give up at once.
        min_updates: A round of fewer gives up the run.
    """

    on_error: OnError = "retry"
    min_updates: int = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """A client that failed, and what was done about it.

    Args:
        failed: Who, and why.
        fate: ``retried``, ``replaced``, ``dropped``, or ``given up`` where the run ended by it.
    """

    failed: Failed
    fate: str


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What came of a round.

    Args:
        state: After it.
        cohort: Who was chosen.
        reports: Clients that trained, by number.
        faults: Clients that failed, in the order in which they were noticed.
        kept: What clients keep from now on, by number.
        bytes_down: That clients were sent.
        bytes_up: That clients sent.
        summed_again: Times that the sums needed other bits.
        seconds: Of training and of summing.
    """

    state: RoundState
    cohort: Cohort
    reports: tuple[ClientReport, ...]
    faults: tuple[Fault, ...]
    kept: Mapping[int, Vectors]
    bytes_down: int
    bytes_up: int
    summed_again: int
    seconds: float


class TrainClients(Protocol):
    """Trains clients from a start, wherever; gives what they came to, in any order."""

    def __call__(self, start: RoundStart, clients: Sequence[int], /) -> Outcome:
        """Each client once; one that fails is named in the outcome, and nothing of it is in the sums."""


def rounds(
    state: RoundState,
    strategy: Strategy,
    *,
    num_rounds: int,
    draw: Callable[[int], Cohort],
    train_clients: TrainClients,
    population: int,
    policy: Policy | None = None,
    lr_of: Callable[[int], float | None] = lambda number: None,
) -> Iterator[RoundReport]:
    """Run rounds until so many are finished; begins after the last one that ``state`` has finished.

    Args:
        state: Where to begin.
        strategy: The algorithm.
        num_rounds: To finish.
        draw: The cohort of a round.
        train_clients: Who trains clients; it knows what they keep.
        population: All clients there are.
        policy: What becomes of clients that fail.
        lr_of: Learning rate of the clients in a round.

    Raises:
        ClientFailure: Too few clients came to an update; each one is named.
        DivergedError: The weights are not finite.
        UserCodeError: The strategy returns what no round can go on with.
    """
    policy = policy or Policy()
    while state.round < num_rounds:
        began, number = time.perf_counter(), state.round + 1
        cohort = draw(number)
        attempt = _Round(strategy, train_clients, policy, cohort, number=number)
        start = RoundStart(
            round=number,
            weights=state.weights,
            server=shared_part(strategy, state.server),
            lr=lr_of(number),
            bits=state.bits,
            room=max(1, len(cohort.chosen)),
        )
        outcome, bits = attempt.outcome(start)
        state = _next(state, strategy, outcome, summed_with=attempt.bits, bits=bits, population=population)
        yield RoundReport(
            state,
            cohort,
            tuple(sorted(outcome.reports, key=lambda report: report.client)),
            tuple(attempt.faults),
            outcome.kept,
            bytes_down=0 if traits(strategy).is_personal else len(outcome.reports) * _size(start),
            bytes_up=outcome.bytes_up,
            summed_again=attempt.summed_again,
            seconds=time.perf_counter() - began,
        )


class _Round:
    """One round: from a cohort to sums that can be relied on."""

    def __init__(
        self, strategy: Strategy, train: TrainClients, policy: Policy, cohort: Cohort, *, number: int
    ) -> None:
        self._strategy, self._train, self._policy, self._number = strategy, train, policy, number
        self._chosen = [int(client) for client in cohort.chosen]
        self._spares = [int(client) for client in cohort.spares]
        self.faults: list[Fault] = []
        self.bits: Bits = {}
        self.summed_again = 0

    def outcome(self, start: RoundStart) -> tuple[Outcome, Bits]:
        """The clients' updates summed, and the bits for the next round."""
        outcome = self._updates(start, self._chosen)
        self.bits, most = start.bits, dict[str, int]()
        for _ in range(_SUMMED_AGAIN):
            verdict = judge(outcome.sums, self.bits, most=most)
            most = dict(verdict.most)
            if not verdict.again:
                return outcome, verdict.bits
            self.summed_again, self.bits = self.summed_again + 1, verdict.bits
            trained = sorted(report.client for report in outcome.reports)
            outcome = self._updates(replace(start, bits=verdict.bits), trained)
        raise AssertionError(f"round {self._number} can't be summed: {verdict}")

    def _updates(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        """What clients come to; a client that came to it before may fail where sums are done again."""
        chosen, least = self._chosen, self._policy.min_updates
        outcome = self._complete(start, self._train(start, clients) if clients else Outcome())
        if chosen and len(outcome.reports) < least:
            self._give_up(f"{len(outcome.reports)} of {len(chosen)} clients came to an update, "
                          f"federated.min_updates is {least}")  # fmt: skip
        return outcome

    def _complete(self, start: RoundStart, outcome: Outcome) -> Outcome:
        """Deal with the clients that failed, until none is left to deal with."""
        outcome = self._retry(start, outcome)
        while outcome.failures:
            substitutes = self._substitutes(len(outcome.failures))
            left = "dropped" if self._policy.on_error == "drop" else "given up"
            fates = ["replaced"] * len(substitutes) + [left] * len(outcome.failures)
            self._note(outcome.failures, fates)
            if len(substitutes) < len(outcome.failures) and self._policy.on_error != "drop":
                self._give_up("a client failed, and federated.on_client_error is not drop")
            outcome = replace(outcome, failures=())
            if substitutes:
                outcome = outcome + self._train(start, substitutes)
        return outcome

    def _retry(self, start: RoundStart, outcome: Outcome) -> Outcome:
        if not outcome.failures or self._policy.on_error != "retry":
            return outcome
        self._note(outcome.failures, ["retried"] * len(outcome.failures))
        again = sorted(failed.client for failed in outcome.failures)
        return replace(outcome, failures=()) + self._train(start, again)

    def _substitutes(self, number: int) -> list[int]:
        if self._policy.on_error == "fail":
            return []
        taken, self._spares = self._spares[:number], self._spares[number:]
        return taken

    def _note(self, failures: Sequence[Failed], fates: Sequence[str]) -> None:
        ordered = sorted(failures, key=lambda failed: failed.client)
        self.faults += [Fault(failed, fate) for failed, fate in zip(ordered, fates, strict=False)]

    def _give_up(self, why: str) -> None:
        named = "\n".join(_alike(self.faults))
        raise ClientFailure(f"round {self._number}: {why}" + (f":\n{named}" if named else ""))


def _alike(faults: Sequence[Fault]) -> Iterator[str]:
    """Each client by number and each error once: a cohort that fails for one cause gets one line."""
    fates = dict[tuple[int, str], list[str]]()
    for fault in faults:
        fates.setdefault((fault.failed.client, fault.failed.error), []).append(fault.fate)
    clients = dict[tuple[str, tuple[str, ...]], list[int]]()
    for (client, error), met in fates.items():
        clients.setdefault((error, tuple(met)), []).append(client)
    for (error, met_by_all), who in clients.items():
        noun = "client" if len(who) == 1 else "clients"
        yield f"  {noun} {', '.join(map(str, who))}: {error} ({', '.join(met_by_all)})"


def _next(
    state: RoundState,
    strategy: Strategy,
    outcome: Outcome,
    *,
    summed_with: Bits,
    bits: Bits,
    population: int,
) -> RoundState:
    number = state.round + 1
    if not outcome.sums.count and not traits(strategy).steps_empty:
        return replace(state, round=number)
    means = replace(outcome.sums.means(summed_with, population=population), round=number)
    buffers = means.vectors.get(BUFFERS)
    means = replace(means, vectors={k: v for k, v in means.vectors.items() if k != BUFFERS})
    weights = state.weights
    params, server = _step(strategy, state, means, outcome.messages)
    _require_shape(params, state.weights.params.shape)
    if not bool(torch.isfinite(params).all()):
        raise DivergedError(number, None, "server's vector of weights", period="round")
    floats = weights.floats if buffers is None else (weights.floats + buffers).to(torch.float32)
    ints = weights.ints if outcome.ints is None else outcome.ints
    return RoundState(number, Weights(params, floats, ints), server, bits)


def _step(
    strategy: Strategy, state: RoundState, means: Means, messages: Mapping[int, Message]
) -> tuple[torch.Tensor, Vectors]:
    if messages:
        clients = tuple(sorted(messages))
        means = replace(means, messages=tuple(messages[client] for client in clients), clients=clients)
    return strategy.step(state.weights.params, means, server=state.server)


def _require_shape(params: torch.Tensor, shape: torch.Size) -> None:
    """Weights of another shape would be broadcast to all of the model's, unnoticed."""
    if not isinstance(params, torch.Tensor) or params.shape != shape:
        got = list(params.shape) if isinstance(params, torch.Tensor) else type(params).__name__
        raise UserCodeError("the strategy's step", f"must return weights of shape {list(shape)} (got {got})")


def _size(start: RoundStart) -> int:
    """Bytes that a client is sent."""
    weights = start.weights
    tensors = (weights.params, weights.floats, weights.ints, *start.server.values())
    return sum(tensor.nbytes for tensor in tensors)
