"""A strategy some of whose clients are hostile, for simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nnray.federated.aggregation.aggregator import Updates
from nnray.federated.aggregation.coordinates import weighted_mean
from nnray.federated.around import Around
from nnray.federated.attacks.attack import Attack
from nnray.federated.holdings import Alter
from nnray.federated.strategy import ClientUpdate, Means, Message, Strategy, Vectors, Weighted, traits


class Attacked(Around):
    """A strategy with attackers among its clients; it goes around everything else, as they are outside.

    Args:
        inner: The strategy inside.
        attack: What attackers do.
        attackers: Whether each client is one.
    """

    def __init__(self, inner: Strategy, attack: Attack, *, attackers: NDArray[np.bool_]) -> None:
        super().__init__(inner)
        self.attack, self.attackers = attack, attackers

    @property
    def collects(self) -> bool:
        """Whether attackers have to know what others sent, or the strategy inside does."""
        return self.attack.collude is not None or traits(self.inner).collects

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """As the one inside, or what an attacker makes of it; what it keeps is what an honest one would."""
        message = self.inner.message(update, server=server, client=client)
        if self.attack.lie is None or not self.attackers[update.client]:
            return message
        return self.attack.lie(message, update)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """As the one inside, after the attackers of the round have agreed on what they send."""
        if self.attack.collude is not None and means.num_clients:
            means = self._agreed(means)
        return self.inner.step(params, means, server=server)

    def _agreed(self, means: Means) -> Means:
        hostile = [bool(self.attackers[client]) for client in means.clients]
        # Attackers without an honest client beside them have nothing to go by, and train as they are told.
        if all(hostile) or not any(hostile):
            return means
        lies = {name: self._lie(name, means.messages, hostile) for name in means.vectors}
        messages = tuple(
            _sending(message, lies) if lying else message
            for message, lying in zip(means.messages, hostile, strict=True)
        )
        vectors = {name: weighted_mean(_updates(name, messages)) for name in means.vectors}
        return replace(means, vectors=vectors, messages=messages)

    def _lie(self, name: str, messages: Sequence[Message], hostile: Sequence[bool]) -> Tensor:
        assert self.attack.collude is not None, "asked for by step alone"
        honest = [message for message, lying in zip(messages, hostile, strict=True) if not lying]
        lie = self.attack.collude(_updates(name, honest), sum(hostile))
        return lie.to(honest[0].vectors[name].value.dtype)


def altered_examples(attack: Attack, *, attackers: NDArray[np.bool_], before: Alter | None) -> Alter | None:
    """What is done to clients' examples where some are attackers; None for nothing.

    Args:
        attack: What attackers do.
        attackers: Whether each client is one.
        before: What is done to all clients' examples first, such as noise.
    """
    alter = attack.alter
    if alter is None:
        return before

    def both(
        inputs: Tensor, targets: Tensor, client: int, examples: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        if before is not None:
            inputs, targets = before(inputs, targets, client, examples)
        return alter(inputs, targets, client, examples) if attackers[client] else (inputs, targets)

    return both


def problems(strategy: Strategy, attack: Attack) -> list[str]:
    """Why an attack can't go around a strategy; empty where it can."""
    said = traits(strategy)
    if said.pooled:
        return ["it has all examples in one place, and an attack needs clients of which some are hostile"]
    if said.is_personal and attack.alter is None:
        return ["its clients send nothing that an attacker could alter: take a strategy that averages"]
    return []


def _updates(name: str, messages: Sequence[Message]) -> Updates:
    sent = [message.vectors[name] for message in messages]
    return Updates(vectors=[part.value for part in sent], weights=[part.weight for part in sent])


def _sending(message: Message, lies: Mapping[str, Tensor]) -> Message:
    told = {name: Weighted(lie, message.vectors[name].weight) for name, lie in lies.items()}
    return replace(message, vectors={**message.vectors, **told})
