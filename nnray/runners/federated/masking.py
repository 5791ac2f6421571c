"""Rounds whose sums are secure: a crew around a crew, whose workers mask what leaves them.

The server's part is played here. It sees public keys, sealed shares, and sums of masked vectors; with workers
in processes of their own, nothing of a single client's update comes into this one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from nnray.config.federated_parts import SecureConfig
from nnray.errors import ClientFailure, ConfigError, IncompatibleModel, Problem
from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import traits
from nnray.federated.weights import Weights
from nnray.metrics import MetricSums
from nnray.privacy.secure.failure import SecureAggregationAborted
from nnray.privacy.secure.messages import Request
from nnray.privacy.secure.server import Server
from nnray.privacy.secure.session import MOST_CLIENTS, Session, open_session
from nnray.privacy.secure.sums import unmask
from nnray.runners.federated.crew import Arguments, Crew, Parts, States
from nnray.runners.federated.parties import Masking, Told
from nnray.runners.federated.setting import Setting, build_flat, strategy_of
from nnray.runners.federated.thinning import Thinning

T = TypeVar("T")
_ALONE = "is alone in its cohort, and a sum of one hides nothing"
_SHOWN = 10


@runtime_checkable
class MaskingCrew(Crew, Protocol):
    """A crew whose workers can answer for clients in secure sums."""

    def train(
        self, start: RoundStart, clients: Sequence[int], states: States, *, masking: Masking | None = None
    ) -> Outcome:
        """As ever; with masking, what clients send is masked before it leaves the worker."""

    def ask(self, method: str, clients: Sequence[int], make: Arguments) -> list[tuple[int, Any] | Failed]:
        """Call a method of workers for clients; each answer by client."""


def masked(crew: Crew, setting: Setting) -> Crew:
    """The crew, with secure sums where the experiment asks for them.

    Args:
        crew: Who trains.
        setting: Of the run.
    """
    if setting.federated.secure is None:
        return crew
    assert isinstance(crew, MaskingCrew), "composition refuses secure sums with sites"
    return Masked(crew, setting)


def summable(cohort: Cohort) -> Cohort:
    """The cohort, or nobody where it is one client: chance may draw a single one."""
    return replace(cohort, chosen=cohort.chosen[:0]) if len(cohort) == 1 else cohort


class Masked:
    """A crew whose outcomes are plain sums that nobody has seen the summands of.

    Args:
        crew: Who trains.
        setting: Of the run.
    """

    def __init__(self, crew: MaskingCrew, setting: Setting) -> None:
        assert setting.federated.secure is not None, "made where secure sums are asked for"
        self._crew, self._secure, self._seed = crew, setting.federated.secure, setting.experiment.seed
        self._thinning = Thinning(strategy_of(setting), size=len(build_flat(setting).params))
        self._secret = os.urandom(32)  # new in each process, so that a resumed round has masks of its own
        self._round, self._begun = 0, 0

    def train(self, start: RoundStart, clients: Sequence[int], states: States) -> Outcome:
        """Train each client once, by a session of its own.

        Raises:
            ClientFailure: So many dropped out that the sum can't be known; each one is named.
        """
        if len(clients) < 2:
            return Outcome(failures=tuple(Failed(int(client), _ALONE) for client in clients))
        session = self._open(clients, round_=start.round)
        outcome = _Sum(self._crew, session, self._secret).outcome(start, states)
        return replace(outcome, sums=self._thinning.fill(outcome.sums, round_=start.round))

    def evaluate(self, weights: Weights, split: str) -> MetricSums:
        """As the crew does: the server has the weights and the split."""
        return self._crew.evaluate(weights, split)

    def evaluate_clients(self, weights: Weights, states: States) -> Parts:
        """As the crew does."""
        return self._crew.evaluate_clients(weights, states)

    def evaluate_personal(self, weights: Weights, split: str, states: States) -> MetricSums:
        """As the crew does."""
        return self._crew.evaluate_personal(weights, split, states)

    def _open(self, clients: Sequence[int], *, round_: int) -> Session:
        if round_ != self._round:
            self._round, self._begun = round_, 0
        self._begun += 1
        return _session(self._secure, clients, round_=round_, seed=self._seed, attempt=self._begun - 1)


class _Sum:
    """One secure sum, stage by stage; who doesn't answer at a stage has dropped out."""

    def __init__(self, crew: MaskingCrew, session: Session, secret: bytes) -> None:
        self._crew, self._session, self._secret = crew, session, secret
        self._server, self._told = Server(session), dict[int, Told]()
        self._lost: list[Failed] = []
        self._bytes_up = 0

    def outcome(self, start: RoundStart, states: States) -> Outcome:
        try:
            self._agree()
            trained = self._crew.train(start, list(self._told), states, masking=self._masking(self._told))
            self._lost += trained.failures
            survivors = sorted(report.client for report in trained.reports)
            self._server.take_masked(survivors)
            self._reveal(survivors)
            sums = unmask(trained.sums, self._server)
        except SecureAggregationAborted as error:
            if not self._lost:
                raise
            raise ClientFailure(f"round {start.round}: {error}:\n{_named(self._lost)}") from error
        failures, sent = tuple(self._lost), trained.bytes_up + self._bytes_up
        return replace(trained, sums=sums, failures=failures, bytes_up=sent)

    def _agree(self) -> None:
        """Keys and shares; after that a client's vector can be told of only as part of the sum."""
        self._told = {client: Told() for client in self._session.clients}
        keys = self._ask("secure_keys", self._told)
        self._server.take_keys(_flat(keys))
        self._told = {client: Told(self._server.keys_for(client)) for client in keys}
        shares = self._ask("secure_shares", self._told)
        self._server.take_shares(_flat(shares))
        self._told = {
            client: replace(self._told[client], sealed=self._server.shares_for(client)) for client in shares
        }

    def _reveal(self, survivors: Sequence[int]) -> None:
        requests = {client: self._server.request_for(client) for client in survivors}
        # Who is lost from here on is in the sum all the same: that is no failure.
        before = len(self._lost)
        revealed = self._ask("secure_reveal", {client: self._told[client] for client in survivors}, requests)
        del self._lost[before:]
        self._server.take_revealed(_flat(revealed))

    def _ask(
        self, method: str, told: Mapping[int, Told], requests: Mapping[int, Request] | None = None
    ) -> dict[int, tuple[Any, ...]]:
        """What clients send at a stage, by client."""

        def make(own: Sequence[int]) -> tuple[Any, ...]:
            masking = self._masking({client: told[client] for client in own})
            return (masking,) if requests is None else (masking, {client: requests[client] for client in own})

        found = self._crew.ask(method, list(told), make)
        self._lost += [answer for answer in found if isinstance(answer, Failed)]
        answers = dict(sorted(answer for answer in found if not isinstance(answer, Failed)))
        self._bytes_up += sum(message.num_bytes for message in _flat(answers))
        return answers

    def _masking(self, told: Mapping[int, Told]) -> Masking:
        return Masking(self._session, self._secret, told)


def require_maskable(setting: Setting) -> None:
    """See that secure sums are possible, where they are asked for.

    Raises:
        ConfigError: A cohort of one, options that are not safe, or a strategy that reads single messages.
        IncompatibleModel: Buffers that are no part of a sum.
    """
    secure = setting.federated.secure
    if secure is None:
        return
    cohort = setting.federated.cohort_of(len(setting.population))
    if not 2 <= cohort <= MOST_CLIENTS:
        text = f"needs a cohort of 2 to {MOST_CLIENTS} clients, for a sum of one hides nothing (got {cohort})"
        raise ConfigError(setting.experiment.name, [Problem("federated.secure", text)])
    _session(secure, range(cohort), round_=1, seed=setting.experiment.seed, attempt=0)
    said = traits(strategy_of(setting))
    if said.collects:
        name = setting.federated.strategy.name
        text = (
            f"doesn't go with strategy {name!r}, which reads messages one by one; take one that reads means"
        )
        raise ConfigError(setting.experiment.name, [Problem("federated.secure", text)])
    if not said.own_buffers and (counters := list(_counters(setting))):
        advice = "take group norm, or fedbn, whose clients keep these to themselves"
        raise IncompatibleModel("federated.secure", counters, advice)


def _counters(setting: Setting) -> list[str]:
    """Buffers of which the server would take the largest: a sum doesn't tell it."""
    buffers = build_flat(setting).module.named_buffers()
    kinds = [(name, buffer.dtype) for name, buffer in buffers if not buffer.is_floating_point()]
    return [f"{name}: a buffer of {dtype}, of which a sum doesn't tell the largest" for name, dtype in kinds]


def _session(
    secure: SecureConfig, clients: Sequence[int], *, round_: int, seed: int, attempt: int
) -> Session:
    """A session as the section says; of a small cohort with a threshold, everyone is needed."""
    threshold = secure.threshold
    if threshold is not None and secure.neighbours is not None:
        threshold = min(threshold, min(secure.neighbours, len(clients) - 1) + 1)
    try:
        return open_session(
            clients,
            round=round_,
            seed=seed,
            attempt=attempt,
            neighbours=secure.neighbours,
            threshold=threshold,
            corrupt=secure.corrupt,
            dropped=secure.dropped,
        )
    except ConfigError as error:
        found = [Problem(f"federated.secure.{problem.path}", problem.message) for problem in error.problems]
        raise ConfigError(error.source, found) from error


def _flat(answers: Mapping[int, tuple[T, ...]]) -> list[T]:
    return [message for messages in answers.values() for message in messages]


def _named(lost: Sequence[Failed]) -> str:
    ordered = sorted(lost, key=lambda failed: failed.client)
    more = [f"  and {len(lost) - _SHOWN} more"] if len(lost) > _SHOWN else []
    return "\n".join([f"  client {failed.client}: {failed.error}" for failed in ordered[:_SHOWN]] + more)
