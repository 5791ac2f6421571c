"""What goes out to clients in a round, and what comes back.

Outcomes add up: those of some clients and those of the others are that of all, whoever trained whom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nnray.errors import DataError
from nnray.federated.exact import Bits, Sums
from nnray.federated.strategy import Message, Vectors, Weighted
from nnray.federated.weights import Weights

BUFFERS = "buffers"
"""Name under which float buffers are averaged, beside a strategy's own vectors."""
FLOATS, INTS = "buffers.float", "buffers.int"
"""Names under which clients keep their own buffers, where weights are personal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStart:
    """What all clients of a round begin with.

    Args:
        round: Number, from 1.
        weights: The server's.
        server: What the server keeps, as far as clients need it.
        lr: Of the clients' steps; None for the optimizer's own.
        bits: That messages are summed with.
        room: Clients whose messages may be added up.
    """

    round: int
    weights: Weights
    server: Vectors = field(default_factory=dict)
    lr: float | None = None
    bits: Bits = field(default_factory=dict)
    room: int = 1


@dataclass(frozen=True, slots=True)
class ClientReport:
    """What is told of a client that has trained.

    Args:
        client: Its number.
        num_examples: That it has.
        num_steps: That it took.
        loss: Mean over its steps.
        seconds: That it took.
    """

    client: int
    num_examples: int
    num_steps: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A client that did not come to an update.

    Args:
        client: Its number.
        error: In a line.
        trace: Where it happened; empty where that is not known.
    """

    client: int
    error: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What some clients of a round came to, or all of them.

    Args:
        sums: Of what they sent.
        ints: Integer buffers, the largest of each; None without a client.
        reports: One for each that has trained.
        failures: One for each that has not.
        kept: What clients keep, by number.
        bytes_up: That their messages take.
        messages: What each one sent, where the strategy needs them one by one.
    """

    sums: Sums = field(default_factory=Sums)
    ints: Tensor | None = None
    reports: tuple[ClientReport, ...] = ()
    failures: tuple[Failed, ...] = ()
    kept: Mapping[int, Vectors] = field(default_factory=dict)
    bytes_up: int = 0
    messages: Mapping[int, Message] = field(default_factory=dict)

    def __add__(self, other: Outcome) -> Outcome:
        return self._with(other, self.sums + other.sums)

    def packed(self) -> Outcome:
        """The same in fewer bytes, to be sent."""
        return replace(self, sums=self.sums.packed())

    def absorb(self, other: Outcome) -> Outcome:
        """The same, faster: this one's sums are changed in place, and neither is to be used again."""
        return self._with(other, self.sums.absorb(other.sums))

    def _with(self, other: Outcome, sums: Sums) -> Outcome:
        ints = [part for part in (self.ints, other.ints) if part is not None]
        return Outcome(
            sums,
            torch.stack(ints).amax(0) if ints else None,
            self.reports + other.reports,
            self.failures + other.failures,
            {**self.kept, **other.kept},
            self.bytes_up + other.bytes_up,
            {**self.messages, **other.messages},
        )


def with_buffers(message: Message, change: Tensor, *, num_examples: int) -> Message:
    """A message with the change of the float buffers, which is averaged by examples."""
    if not change.numel():
        return message
    assert BUFFERS not in message.vectors, f"{BUFFERS!r} is the engine's own name"
    vectors = {**message.vectors, BUFFERS: Weighted(change, float(num_examples))}
    return replace(message, vectors=vectors, num_bytes=_larger(message, change))


def _larger(message: Message, change: Tensor) -> int | None:
    return None if message.num_bytes is None else message.num_bytes + change.nbytes


def size_of(message: Message) -> int:
    """Bytes that a message takes."""
    if message.num_bytes is not None:
        return message.num_bytes
    return sum(sent.value.nbytes for sent in message.vectors.values()) + 8 * len(message.numbers)


def require_sound(message: Message, *, shape: torch.Size) -> None:
    """Refuse what must not get into a mean.

    Raises:
        DataError: A vector has another shape than the parameters, a number is not finite, or a weight is
            negative. Vectors that are not finite are refused where they are summed.
    """
    for name, sent in message.vectors.items():
        if name != BUFFERS and sent.value.shape != shape:
            raise DataError(f"its {name!r} has shape {list(sent.value.shape)}, not {list(shape)}")
        _require_weight(name, sent.weight)
    for name, number in message.numbers.items():
        if not math.isfinite(number.value):
            raise DataError(f"its {name!r} is {number.value}")
        _require_weight(name, number.weight)


def _require_weight(name: str, weight: float) -> None:
    if not (math.isfinite(weight) and weight >= 0):
        raise DataError(f"its {name!r} weighs {weight}: a weight is finite and not negative")
