"""A client's part in a round, in virtual time: how long it takes, and whether it comes to an end.

It depends on the client's device, on the steps it takes and on the size of what is sent, and on nothing that
training comes to: so virtual time is the same whoever trains, and in whatever order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import randn

from nnray.federated.outcome import size_of
from nnray.federated.rehearsal import rehearsed
from nnray.federated.rounds import RoundState
from nnray.federated.strategy import ClientUpdate, Strategy, shared_part, traits
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.report import Kind
from nnray.federated.virtual.windows import MICRO
from nnray.seeding import numpy_rng, torch_rng

WORDS: Mapping[Kind, str] = {
    "drops out": "dropped out",
    "leaves": "was no longer there",
    "is late": "came after the deadline",
    "is too old": "began with weights that were too old when it came",
}
"""What is said of clients that came to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a part in a round asks of a device.

    Args:
        num_steps: That each client takes.
        bytes_down: That it is sent.
        bytes_up: That it sends.
    """

    num_steps: Callable[[int], int]
    bytes_down: int
    bytes_up: int


@dataclass(frozen=True, slots=True)
class End:
    """How a client's part ends.

    Args:
        time: When, in microseconds from the beginning of the run.
        kind: ``comes``, ``drops out`` or ``leaves``.
    """

    time: int
    kind: Kind


def part_of(state: RoundState, strategy: Strategy, *, num_steps: Callable[[int], int], seed: int) -> Part:
    """The part that every round of a run asks for; messages are as large as one of a made-up update.

    Args:
        state: Of the run.
        strategy: With all that is around it.
        num_steps: That each client takes.
        seed: Of the experiment.
    """
    weights, shared = state.weights, shared_part(strategy, state.server)
    buffers, down = weights.floats.nbytes + weights.ints.nbytes, 0
    if traits(strategy).is_personal:
        buffers = 0
    else:
        down = weights.params.nbytes + buffers + sum(tensor.nbytes for tensor in shared.values())
    delta = 1e-3 * randn(weights.params.shape, generator=torch_rng(seed, "virtual", "message"))
    update = ClientUpdate(0, 1, 1, 0.1, 0.0, delta, 1.0, 1.0, state.round + 1)
    update = rehearsed(strategy, weights.params, update=update, server=shared, client={})
    message = strategy.message(update, server=shared, client={})
    return Part(num_steps=num_steps, bytes_down=down, bytes_up=size_of(message) + buffers)


def end_of(
    devices: Devices, client: int, *, part: Part, begin: int, seed: int, path: tuple[str | int, ...]
) -> End:
    """How the part of a client ends that begins at a time.

    Args:
        devices: Of all clients.
        client: Its number.
        part: What is asked of it.
        begin: Microseconds from the beginning of the run; the client is there.
        seed: Of the experiment.
        path: Names the draw.
    """
    steps = part.num_steps(client)
    takes = devices.duration(client, num_steps=steps, bytes_down=part.bytes_down, bytes_up=part.bytes_up)
    end = End(begin + takes, "comes")
    left = None if devices.windows is None else devices.windows.left(client, begin)
    if left is not None and left < takes:
        end = End(begin + left, "leaves")
    if probability := float(devices.dropout[client]):
        chance, share = numpy_rng(seed, "virtual", *path).random(2).tolist()
        at = begin + max(1, int(share * takes))
        if chance < probability and at <= end.time:
            return End(at, "drops out")
    return end


def told(kind: Kind, *, began: int, ended: int) -> str:
    """In a line, what became of a client that came to nothing."""
    return f"{WORDS[kind]}, {(ended - began) / MICRO:.3f} virtual seconds after it began"
