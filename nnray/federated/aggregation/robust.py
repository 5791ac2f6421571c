"""A robust rule in place of the means that a strategy steps by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nnray.errors import ClientFailure
from nnray.federated.aggregation.aggregator import Aggregator
from nnray.federated.around import Around, joined, other_part, own_part
from nnray.federated.rehearsal import rehearsed
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Strategy, Vectors, traits

_PREFIX = "robust"
_NUMBERS = (
    "its clients send numbers ({}) that scale the whole step, so that one liar could; robust rules are for "
    "vectors: take fedavg, fedprox, fedopt, fedadam, scaffold or feddyn"
)


class Robust(Around):
    """A strategy whose step is told what a rule makes of the messages, each vector by itself.

    Float buffers, such as batch norm's statistics, are the engine's, which takes their mean.

    Args:
        inner: The strategy inside.
        aggregator: The rule.
    """

    collects = True

    def __init__(self, inner: Strategy, aggregator: Aggregator) -> None:
        super().__init__(inner)
        self.aggregator = aggregator

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """As the one inside, which is not told what the rule remembers."""
        return self.inner.pull(other_part(server, _PREFIX), client)

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """As the one inside, likewise."""
        return self.inner.message(update, server=other_part(server, _PREFIX), client=client)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """As the one inside, by what the rule makes of the messages.

        Raises:
            ClientFailure: There are too few for the rule, or the root is not among them.
        """
        inner, own = other_part(server, _PREFIX), own_part(server, _PREFIX)
        if means.num_clients:
            means = self._ruled(means, own)
            if self.aggregator.remembers:
                own = {name: vector.to(params.dtype) for name, vector in means.vectors.items()}
        params, inner_state = self.inner.step(params, means, server=inner)
        return params, joined(inner_state, own, prefix=_PREFIX)

    def _ruled(self, means: Means, last: Mapping[str, Tensor]) -> Means:
        assert len(means.messages) == means.num_clients, "collects: all messages come"
        root, means = self._apart(means)
        vectors = {}
        for name in means.vectors:
            reference = last.get(name) if root is None else root.vectors[name].value
            sent = [message.vectors[name] for message in means.messages]
            vectors[name] = self.aggregator(
                [part.value for part in sent], weights=[part.weight for part in sent], reference=reference
            )
        return replace(means, vectors=vectors)

    def _apart(self, means: Means) -> tuple[Message | None, Means]:
        """What the root sent, and what is left without it."""
        root = self.aggregator.root
        if root is None:
            return None, means
        if root not in means.clients:
            raise ClientFailure(
                f"aggregator {self.aggregator.title} needs the update of client {root} in every round, and "
                f"in round {means.round} it came to none: see why it failed, or take another root_client"
            )
        place = means.clients.index(root)
        messages = means.messages[:place] + means.messages[place + 1 :]
        clients = means.clients[:place] + means.clients[place + 1 :]
        others = replace(means, messages=messages, clients=clients, num_clients=len(messages))
        return means.messages[place], others


def problems(strategy: Strategy, *, size: int = 1) -> list[str]:
    """Why a robust rule can't go around a strategy; empty where it can.

    Args:
        strategy: That is tried on an update of zeros.
        size: Length of its vectors of weights, for one that was told the model's parameters.
    """
    said = traits(strategy)
    if said.pooled or said.is_personal:
        return ["it makes no weights of what clients send, and a robust rule needs updates of clients"]
    if numbers := sorted(_probe(strategy, size).numbers):
        return [_NUMBERS.format(", ".join(numbers))]
    return []


def _probe(strategy: Strategy, size: int) -> Message:
    """What a client would send that has learnt nothing."""
    still = torch.zeros(size)
    update = ClientUpdate(0, 1, 1, 1.0, 0.0, still, 1.0, 1.0, 1)
    server = strategy.server_state(still)
    update = rehearsed(strategy, still, update=update, server=server, client={})
    return strategy.message(update, server=server, client={})
