"""Clients that were made up, to try a strategy with: they train nothing, and differ in all that they tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from nnray.federated.strategy import (
    ClientUpdate,
    Means,
    Message,
    Pull,
    Stage,
    Staged,
    Strategy,
    Vectors,
    traits,
)
from nnray.federated.weights import Slot
from nnray.seeding import torch_rng

SLOTS = (
    Slot("body.weight", 0, (4, 4), layer="Linear"),
    Slot("norm.weight", 16, (4,), layer="BatchNorm1d"),
    Slot("head.weight", 20, (3, 4), layer="Linear"),
    Slot("head.bias", 32, (1,), layer="Linear"),
)
"""The parameters of the made-up model."""
SIZE = 33
"""Their numbers."""


def made_updates(
    cohort: Sequence[int], *, round_: int = 1, scale: float = 0.1, loss: float = 1.0
) -> list[ClientUpdate]:
    """Made-up updates: clients of 1 to 9 examples, of 1 to 7 steps."""
    made = []
    for client in cohort:
        rng = torch_rng(0, "update", round_, client)
        delta = scale * torch.randn(SIZE, generator=rng)
        size, steps = 1 + client * 5 % 9, 1 + client * 3 % 7
        start_loss = loss * (1 + client % 4) / 2
        made.append(ClientUpdate(client, size, steps, 0.1, 0.0, delta, loss, start_loss, round_))
    return made


def stages_of(
    strategy: Strategy,
    params: Tensor,
    *,
    update: ClientUpdate,
    server: Vectors,
    client: Vectors,
    slots: Sequence[Slot] = SLOTS,
) -> Iterator[tuple[Pull, ClientUpdate]]:
    """How a client is pulled in each stage, and what it came to by then: it moves alike in all of them."""
    if not traits(strategy).is_staged:
        yield strategy.pull(server, client), update
        return
    stage = Stage(0, params, params, update.num_steps)
    while (pull := cast(Staged, strategy).next_pull(stage, server=server, client=client)) is not None:
        delta = update.delta.clone()
        for slot in slots:
            if slot.name in pull.frozen:
                slot.of(delta).zero_()
        end = (stage.params if pull.start is None else pull.start) + delta
        yield pull, replace(update, delta=delta, end=end, carried=pull.carried)
        stage = Stage(stage.number + 1, params, end, update.num_steps, pull.carried)


def rehearsed(
    strategy: Strategy, params: Tensor, *, update: ClientUpdate, server: Vectors, client: Vectors
) -> ClientUpdate:
    """A made-up update with what the stages before its end would have handed on: for asking what is sent.

    Args:
        strategy: That is to be asked.
        params: The round's weights.
        update: Of the last stage.
        server: What the server keeps.
        client: What the client keeps.
    """
    return list(stages_of(strategy, params, update=update, server=server, client=client, slots=()))[-1][1]


def means_of(messages: Sequence[Message], *, population: int, collects: bool = False) -> Means:
    """The means of what clients sent, in float64: the engine's must come to the same.

    Args:
        messages: One for each client of the cohort.
        population: All clients there are.
        collects: Whether the strategy is given the messages too.
    """
    vectors = {}
    for name in messages[0].vectors:
        sent = [message.vectors[name] for message in messages]
        total = math.fsum(part.weight for part in sent)
        vectors[name] = torch.stack([part.value.double() * (part.weight / total) for part in sent]).sum(0)
    numbers = {}
    for name in messages[0].numbers:
        parts = [message.numbers[name] for message in messages]
        total = math.fsum(part.weight for part in parts)
        numbers[name] = math.fsum(part.value * (part.weight / total) for part in parts)
    return Means(vectors, numbers, len(messages), population, tuple(messages) if collects else ())
