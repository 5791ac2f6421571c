"""What a federated algorithm is: pure functions over flat vectors, and nothing of how a round is carried out.

In a round, every client of the cohort starts from the same weights. ``pull`` says how its gradient differs
from that of its own examples; it trains; ``message`` says what it sends and what it keeps for its next
round. Where it trains in stages, or has weights of its own, ``next_pull`` says so stage after stage. The
engine takes means of what was sent, and ``step`` makes the next weights of them. All state goes in and comes
out as vectors, so that resuming is loading them.

Legend: P the parameters of the model, as one flat vector (`federated.weights`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Protocol, TypeVar, cast

from torch import Tensor

T = TypeVar("T")
Vectors = Mapping[str, Tensor]
"""State by name: ``[P] float32`` vectors, or scalars; what clients keep may be parts of such vectors."""


@dataclass(frozen=True, slots=True)
class Pull:
    """What is added to a client's gradient at weights ``w``: ``proximal * (w - anchor) + drift``.

    The fields behind ``start`` are read where the strategy ``is_staged``.

    Args:
        proximal: Strength of the pull back to the anchor.
        drift: The same in every step, ``[P] float32``; None for nothing.
        start: Weights to start from, where they are not those of the server, or of the stage before.
        anchor: ``[P] float32``; None for where the client, or its stage, started.
        frozen: Names of parameters that take no step.
        epochs: Passes over its examples; None for what the experiment says.
        steps: Steps instead.
        repeat: Steps on each batch.
        apart: Whether what is trained from here on is the client's alone: its buffers are kept, not sent.
        carried: Handed on to the next stage, and to ``message``.
    """

    proximal: float = 0.0
    drift: Tensor | None = None
    start: Tensor | None = None
    anchor: Tensor | None = None
    frozen: tuple[str, ...] = ()
    epochs: int | None = None
    steps: int | None = None
    repeat: int = 1
    apart: bool = False
    carried: Vectors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a client stands before a stage of its training.

    Args:
        number: Of the stage, from 0.
        start: The round's weights, ``[P] float32``.
        params: The client's as they are now; before the first stage those of the round.
        num_steps: That the experiment has a client of so many examples take.
        carried: What the stage before handed on.
    """

    number: int
    start: Tensor
    params: Tensor
    num_steps: int
    carried: Vectors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientUpdate:
    """What training on a client's examples came to.

    Args:
        client: Number of the client.
        num_examples: That it trained on.
        num_steps: Optimizer steps that it took.
        lr: Learning rate of its steps.
        momentum: Of its optimizer; 0 where it has none.
        delta: Weights at its end minus weights at its start, ``[P] float32``; of its last stage.
        loss: Mean training loss over its steps.
        start_loss: Mean loss of its examples at the round's weights; NaN unless the strategy needs it.
        round: Number of the round, from 1.
        end: Weights at its end, ``[P] float32``; None unless the strategy ``is_staged``.
        carried: What its last stage handed on.
    """

    client: int
    num_examples: int
    num_steps: int
    lr: float
    momentum: float
    delta: Tensor
    loss: float
    start_loss: float
    round: int = 0
    end: Tensor | None = None
    carried: Vectors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Weighted(Generic[T]):
    """A value, and what it weighs in the mean over clients.

    Args:
        value: What is averaged.
        weight: Not negative; of all clients together not zero.
    """

    value: T
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """What a client sends, and what it keeps.

    Args:
        vectors: Averaged over clients, each ``[P] float32``.
        numbers: Likewise.
        kept: The client's state from now on.
        num_bytes: That it takes on its way; None for what its vectors and numbers take as they are.
    """

    vectors: Mapping[str, Weighted[Tensor]]
    numbers: Mapping[str, Weighted[float]] = field(default_factory=dict)
    kept: Vectors = field(default_factory=dict)
    num_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What a round's messages came to.

    Args:
        vectors: Weighted means, each ``[P] float64``.
        numbers: Weighted means.
        num_clients: Clients that sent one.
        population: All clients there are.
        messages: The messages themselves, by client, where the strategy ``collects`` them.
        clients: Who sent them, in the same order.
        round: Number of the round, from 1.
    """

    vectors: Mapping[str, Tensor]
    numbers: Mapping[str, float]
    num_clients: int
    population: int
    messages: tuple[Message, ...] = ()
    clients: tuple[int, ...] = ()
    round: int = 0


class Strategy(Protocol):
    """A federated algorithm."""

    @property
    def needs_start_loss(self) -> bool:
        """Whether clients measure the round's weights on their examples before they train."""

    @property
    def has_client_state(self) -> bool:
        """Whether clients keep something from round to round."""

    def server_state(self, params: Tensor) -> Vectors:
        """What the server keeps, before the first round."""

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """How a client's steps differ from plain ones.

        Args:
            server: What the server keeps.
            client: What the client kept; empty in its first round.
        """

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """What a client sends, and keeps, after it has trained."""

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """The next weights, ``[P] float32``, and what the server keeps; nothing is changed in place."""


class Staged(Strategy, Protocol):
    """One whose clients train in stages; its trait ``is_staged`` says so, and ``pull`` is not asked."""

    def next_pull(self, stage: Stage, *, server: Vectors, client: Vectors) -> Pull | None:
        """How the steps of the stage to come differ from plain ones; None where there is none to come."""


class Personal(Strategy, Protocol):
    """One whose clients have weights of their own, beside the server's or instead of them."""

    def personal(self, params: Tensor, client: Vectors) -> Tensor:
        """A client's own weights, ``[P] float32``.

        Args:
            params: The server's.
            client: What the client keeps; not empty.
        """


@dataclass(frozen=True, slots=True)
class Traits:
    """What a strategy may say of itself, by attributes of these names; one that it lacks has the default.

    Args:
        pooled: All examples are one client's, who takes the steps of a whole cohort.
        is_personal: Clients go on from weights of their own; there is no model for all of them.
        is_partial: The server has a part of a model, and each client the rest; likewise.
        is_staged: Clients train in stages: ``next_pull`` is asked for each, in place of ``pull``.
        own_buffers: Clients keep their buffers, and send none.
        collects: ``step`` is given every message, and not the means alone.
        local_steps: Steps that a client takes, whatever the experiment says; None for what it says.
        full_batch: Whether a client's steps are over all of its examples, whatever the experiment says.
        shared: Names of what the server keeps that ``pull`` and ``message`` are given; None for all of it.
        needs_sgd: Whether its equations hold for SGD only, with momentum or without it; no Nesterov.
        steps_empty: Whether a round without a client is a step, too; its means are then empty.
    """

    pooled: bool = False
    is_personal: bool = False
    is_partial: bool = False
    is_staged: bool = False
    own_buffers: bool = False
    collects: bool = False
    local_steps: int | None = None
    full_batch: bool = False
    shared: tuple[str, ...] | None = None
    needs_sgd: bool = False
    steps_empty: bool = False


def traits(strategy: Strategy) -> Traits:
    """What a strategy says of itself."""
    said: dict[str, Any] = {
        trait.name: getattr(strategy, trait.name) for trait in fields(Traits) if hasattr(strategy, trait.name)
    }
    return Traits(**said)


def shared_part(strategy: Strategy, server: Vectors) -> Vectors:
    """What clients are sent of what the server keeps."""
    names = traits(strategy).shared
    return dict(server) if names is None else {name: server[name] for name in names}


def has_common(strategy: Strategy) -> bool:
    """Whether the server has a whole model for all clients."""
    said = traits(strategy)
    return not (said.is_personal or said.is_partial)


def has_personal(strategy: Strategy) -> bool:
    """Whether clients have weights of their own."""
    return hasattr(strategy, "personal")  # and no isinstance: it doesn't see what is around a strategy


def personal_params(strategy: Strategy, params: Tensor, *, client: Vectors) -> Tensor:
    """A client's own weights; the server's where it has none, or has not taken part yet."""
    if not client or not has_personal(strategy):
        return params
    return cast(Personal, strategy).personal(params, client)
