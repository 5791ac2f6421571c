"""Client-level differential privacy, around a strategy: updates are clipped, and their sum gets noise.

What one client changes of a round's sum is bounded by the clip norm, whatever it trained on: it counts as
much as any other, and the sum is divided by the number of clients expected, not by that which came. A round
to which nobody came gets its noise, too. What reaches the strategy inside is within the guarantee: what it
makes of it, momentum or Adam, costs nothing more.

Source:
    McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models", algorithm 1, the
    estimator f_f with all weights 1; Andrew et al. 2021 (adaptive norms); Kairouz et al. 2021 (trees).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.federated.around import Around, joined, other_part, own_part
from nnray.federated.rehearsal import rehearsed
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Strategy, Vectors, Weighted, traits
from nnray.federated.weights import Slot
from nnray.privacy.accounting import Phase, Trees
from nnray.privacy.clipping import (
    Clipping,
    bit_noise,
    clipped,
    clipped_by_layer,
    is_below,
    next_norm,
    update_noise,
)
from nnray.privacy.noise import normal, place_in_trees, tree_noise, without_gaps

PREFIX = "privacy"
BELOW = f"{PREFIX}/below"
"""What clients send where the norm adapts: 1/2 where it left them as they were, else -1/2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How much noise there is, and where it comes from.

    Args:
        multiplier: Standard deviation on the sum over the clip norm; with trees, on each node.
        cohort: Clients of a round on average, which sums are divided by.
        at: Who adds it: the server once, or each client a part.
        least_clients: Clients whose parts come to all the noise; in smaller rounds the server adds the rest.
        trees: Along which sums are released; None for each round by itself.
    """

    multiplier: float
    cohort: float
    at: Literal["server", "clients"] = "server"
    least_clients: int = 1
    trees: Trees | None = None


class Private(Around):
    """A strategy whose clients are protected.

    Args:
        inner: Which sends one vector, and no numbers.
        clipping: Of each client's vector.
        noise: On the sum.
        seed: Of all noise.
        slots: Where parameters stand; needed to clip by layer, and to leave gaps between them zero.
        size: Length of the vectors of weights, for trying the strategy inside.

    Raises:
        ConfigError: The strategy inside can't be protected like this; all the reasons.
    """

    def __init__(
        self,
        inner: Strategy,
        *,
        clipping: Clipping,
        noise: Noise,
        seed: int,
        slots: Sequence[Slot] = (),
        size: int = 32,
    ) -> None:
        super().__init__(inner)
        found = problems(inner, size=size)
        if found:
            wrong = (
                Problem("federated.strategy", f"privacy.unit: client can't protect it: {why}")
                for why in found
            )
            raise ConfigError("privacy", wrong)
        assert clipping.by != "per_layer" or slots, "clipping by layer needs to know the layers"
        self.clipping, self.noise, self.seed, self.slots = clipping, noise, seed, tuple(slots)
        self._on_bits = bit_noise(noise.multiplier, noise.cohort)
        self._on_updates = update_noise(noise.multiplier, self._on_bits) if self._adapts else noise.multiplier

    @property
    def _adapts(self) -> bool:
        return self.clipping.by == "adaptive"

    @property
    def steps_empty(self) -> bool:
        """Noise tells nobody whether somebody came."""
        return True

    @property
    def shared(self) -> tuple[str, ...] | None:
        """Clients need to know a norm that adapts."""
        names = traits(self.inner).shared
        return (*names, f"{PREFIX}/norm") if names is not None and self._adapts else names

    @property
    def has_client_state(self) -> bool:
        """With trees, a client counts the rounds in which it took part."""
        return self.inner.has_client_state or self.noise.trees is not None

    def phase(self, *, rate: float) -> Phase:
        """A round, for the accountant.

        Args:
            rate: Probability that a client takes part in it.
        """
        return Phase(self.noise.multiplier, 1.0 if self.noise.trees else rate, trees=self.noise.trees)

    def server_state(self, params: Tensor) -> Vectors:
        """That of the strategy inside, and the norm where it adapts."""
        own = {"norm": torch.tensor(self.clipping.norm, dtype=torch.float64)} if self._adapts else {}
        return joined(self.inner.server_state(params), own, prefix=PREFIX)

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """As the one inside."""
        return self.inner.pull(other_part(server, PREFIX), other_part(client, PREFIX))

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The one vector of the strategy inside, clipped, counting 1."""
        sent = self.inner.message(
            update, server=other_part(server, PREFIX), client=other_part(client, PREFIX)
        )
        ((name, vector),) = sent.vectors.items()
        norm = self._norm(server)
        value = self._clipped(vector.value, norm)
        numbers: dict[str, Weighted[float]] = {}
        if self._adapts:
            bit = 0.5 if is_below(vector.value, norm) else -0.5
            numbers[BELOW] = Weighted(bit + self._on_bits * float(self._part(1, "bit", update)))
        value, own = self._counted(value, update, own_part(client, PREFIX))
        if self.noise.at == "clients":
            part = self._part(len(value), "part", update).to(value.device)
            value = value.double().add_(part, alpha=self._on_updates * norm)
        return replace(
            sent,
            vectors={name: Weighted(value.to(vector.value.dtype))},
            numbers=numbers,
            kept=joined(sent.kept, own, prefix=PREFIX),
        )

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """The noisy sum over the expected number of clients, to the strategy inside."""
        norm, inner = self._norm(server), other_part(server, PREFIX)
        name = next(iter(means.vectors)) if means.vectors else _names(self.inner, params, inner)[0]
        noisy = self._server_noise(len(params), means).mul_(self._on_updates * norm).to(params.device)
        if means.vectors:
            noisy.add_(means.vectors[name], alpha=means.num_clients)
        private = Means(
            {name: noisy.div_(self.noise.cohort)},
            {},
            num_clients=max(1, round(self.noise.cohort)),
            population=means.population,
            round=means.round,
        )
        stepped, state = self.inner.step(params, private, server=inner)
        own = (
            {"norm": torch.tensor(self._next_norm(norm, means), dtype=torch.float64)} if self._adapts else {}
        )
        return stepped, joined(state, own, prefix=PREFIX)

    def _norm(self, server: Vectors) -> float:
        return float(server[f"{PREFIX}/norm"]) if self._adapts else self.clipping.norm

    def _clipped(self, vector: Tensor, norm: float) -> Tensor:
        if self.clipping.by == "per_layer":
            return clipped_by_layer(vector, norm, slots=self.slots)
        return clipped(vector, norm)

    def _counted(self, value: Tensor, update: ClientUpdate, own: Vectors) -> tuple[Tensor, dict[str, Tensor]]:
        """With trees, nothing of a client that has counted as often as the accountant was told."""
        trees = self.noise.trees
        if trees is None:
            return value, {}
        tree, _ = place_in_trees(update.round, trees)
        times = int(own["times"]) if own and int(own["tree"]) == tree else 0
        if times >= trees.max_participations:
            value = torch.zeros_like(value)
        return value, {"tree": torch.tensor(tree), "times": torch.tensor(times + 1)}

    def _part(self, size: int, what: str, update: ClientUpdate) -> Tensor:
        """A client's part of unit noise; nothing where the server adds it."""
        if self.noise.at == "server":
            return torch.zeros(size, dtype=torch.float64)
        drawn = normal(size, what, update.round, update.client, seed=self.seed)
        slots = self.slots if what == "part" else ()
        return without_gaps(drawn, slots) / math.sqrt(self.noise.least_clients)

    def _server_noise(self, size: int, means: Means) -> Tensor:
        if self.noise.trees:
            drawn = tree_noise(size, round=means.round, trees=self.noise.trees, seed=self.seed)
        else:
            drawn = normal(size, "round", means.round, seed=self.seed)
        return without_gaps(drawn, self.slots).mul_(self._left_over(means))

    def _left_over(self, means: Means) -> float:
        """The share of the noise, as a standard deviation, that is left for the server to add."""
        if self.noise.at == "server":
            return 1.0
        return math.sqrt(max(0.0, 1.0 - means.num_clients / self.noise.least_clients))

    def _next_norm(self, norm: float, means: Means) -> float:
        noise = float(normal(1, "bits", means.round, seed=self.seed)) * self._left_over(means)
        total = means.numbers.get(BELOW, 0.0) * means.num_clients + noise * self._on_bits
        return next_norm(norm, total / self.noise.cohort + 0.5, clipping=self.clipping)


def problems(strategy: Strategy, *, size: int = 32) -> list[str]:
    """Why clients of a strategy can't be protected by clipping one vector; nothing where they can.

    Args:
        strategy: That is tried on an update of zeros.
        size: Length of its vectors of weights.
    """
    said, found = traits(strategy), []
    if said.pooled:
        found.append("it trains on all examples as one client's, so there is no client to protect")
    if said.is_personal:
        found.append("it keeps clients' own weights, and makes no model of what they send")
    if said.collects:
        found.append("its step looks at clients one by one, and noise is on their sum; take a mean")
    if found:
        return found
    params = torch.zeros(size)
    server = strategy.server_state(params)
    vectors, numbers = _names(strategy, params, server), _sent(strategy, params, server).numbers
    if len(vectors) != 1:
        found.append(
            f"clients send {len(vectors)} vectors ({', '.join(vectors)}), and one is clipped; {_TAKE}"
        )
    if numbers:
        found.append(f"clients send numbers that no norm bounds ({', '.join(numbers)}); {_TAKE}")
    return found


_TAKE = "take fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad, fedopt or fedsgd"


def _names(strategy: Strategy, params: Tensor, server: Vectors) -> list[str]:
    return list(_sent(strategy, params, server).vectors)


def _sent(strategy: Strategy, params: Tensor, server: Vectors) -> Message:
    """What a client sends that has not moved."""
    names = traits(strategy).shared
    known = dict(server) if names is None else {name: server[name] for name in names}
    update = ClientUpdate(0, 1, 1, 0.1, 0.0, torch.zeros_like(params), loss=1.0, start_loss=1.0, round=1)
    update = rehearsed(strategy, params, update=update, server=known, client={})
    return strategy.message(update, server=known, client={})
