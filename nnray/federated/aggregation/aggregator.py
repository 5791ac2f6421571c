"""What a robust rule is: a function from the updates of a round to one of the same size.

Rules see updates, never weights of a model, and work through them in blocks: beside the updates themselves
they take memory for a block, for the result, and for a table of clients by clients. Everything is reckoned in
float64, and differences are taken before they are squared, so that a large part that all updates share costs
no digits. Where clients tie, the one with the lowest number goes first.

Legend: n updates; P the parameters; B those in a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.errors import ClientFailure

_BLOCK, _WIDTH = 1 << 18, 1 << 14
"""Values in a block: 2 MB, which stay in the cache of a core; and of one update, few enough that torch adds
them up in one thread: the bits must not depend on how many there are."""
_SLACK = 1e-9
"""Of a share of a number: 0.29 of 100 is 29, and in float64 a bit less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """What a rule is given.

    Args:
        vectors: Of the clients, ascending by number.
        weights: What each one counts for by its own word; a liar may say anything.
        reference: Of the server: the update of its own examples, or the one it made last; None for neither.

    Shape:
        vectors: ``[P]`` each.
        reference: ``[P]``.
    """

    vectors: Sequence[Tensor]
    weights: Sequence[float]
    reference: Tensor | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def size(self) -> int:
        """Of each of them."""
        return self.vectors[0].numel()

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Where each block stands, and its values, ``[n, B] float64``."""
        width = max(1, min(_WIDTH, _BLOCK // len(self)))
        for begin in range(0, self.size, width):
            part = slice(begin, begin + width)
            yield part, torch.stack([vector[part] for vector in self.vectors]).to(torch.float64)

    def reduce(self, of_block: Callable[[slice, Tensor], Tensor]) -> Tensor:
        """A vector of all parameters, ``[P] float64``, made block by block.

        Args:
            of_block: From where a block stands and its values ``[n, B]`` to ``[B]``.
        """
        made = torch.empty(self.size, dtype=torch.float64, device=self.vectors[0].device)
        for part, block_NB in self.blocks():
            made[part] = of_block(part, block_NB)
        return made

    def take(self, index: Sequence[int]) -> Updates:
        """Some of them."""
        vectors, weights = [self.vectors[i] for i in index], [self.weights[i] for i in index]
        return Updates(vectors=vectors, weights=weights, reference=self.reference)


Rule = Callable[[Updates], Tensor]
"""From updates to one of them all, ``[P] float64``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregator:
    """A rule, and what it needs.

    Args:
        title: What messages call it.
        rule: Itself.
        fewest: Updates without which it promises nothing.
        root: Number of the client whose examples the server trusts: it trains in every round, is not among
            the updates, and what it sends is their ``reference``; None where there is none.
        remembers: Whether ``reference`` is what came out of the round before; None in the first.
    """

    title: str
    rule: Rule
    fewest: int = 1
    root: int | None = None
    remembers: bool = False

    def __call__(
        self,
        updates: Sequence[Tensor],
        *,
        weights: Sequence[float] | None = None,
        reference: Tensor | None = None,
    ) -> Tensor:
        """Make one update of many.

        Args:
            updates: Ascending by client.
            weights: What each one counts for; None for all the same.
            reference: What the server compares them with, where the rule does.

        Shape:
            updates: ``[P]`` each, or ``[n, P]`` together.
            returns: ``[P] float64``.

        Raises:
            ClientFailure: They are too few.
        """
        given = tuple(updates)
        if problem := self.problem(len(given)):
            raise ClientFailure(problem)
        assert len({vector.shape for vector in given}) == 1, "clients send vectors of one size"
        return self.rule(Updates(vectors=given, weights=weights or [1.0] * len(given), reference=reference))

    def problem(self, num_updates: int) -> str | None:
        """Why so many updates are too few; None where they are enough."""
        if num_updates >= self.fewest:
            return None
        return (
            f"aggregator {self.title} needs {self.fewest} updates of a round at least (got {num_updates}): "
            "take a larger federated.cohort, expect fewer liars, or take median"
        )


def share_of(number: int, share: float) -> int:
    """So many of a number, rounded down."""
    return math.floor(share * number + _SLACK)


def total(block_NB: Tensor) -> Tensor:
    """The sum over updates, ``[B]``, one after another: torch's own adds in an order that varies."""
    added = block_NB[0].clone()
    for row in block_NB[1:]:
        added += row
    return added


def length(vector: Tensor) -> Tensor:
    """The norm of a vector, a float64 scalar."""
    return distances(Updates(vectors=[vector], weights=[1.0]), torch.zeros_like(vector, dtype=torch.float64))[
        0
    ]


def distances(updates: Updates, center: Tensor) -> Tensor:
    """How far each update is from a point, ``[n] float64``."""
    squares = torch.zeros(len(updates), dtype=torch.float64, device=center.device)
    for part, block_NB in updates.blocks():
        squares += block_NB.sub_(center[part]).square_().sum(1)
    return squares.sqrt_()


def stepped(updates: Updates, center: Tensor, *, shares: Tensor) -> Tensor:
    """A point moved towards each update by a share of the way, ``[P] float64``.

    Args:
        updates: To move to.
        center: To begin at.
        shares: Of the way to each of them, ``[n] float64``.
    """

    def of_block(part: slice, block_NB: Tensor) -> Tensor:
        return total(block_NB.sub_(center[part]).mul_(shares[:, None])) + center[part]

    return updates.reduce(of_block)


def origin(updates: Updates) -> Tensor:
    """The point at which nothing changes, ``[P] float64``."""
    return torch.zeros(updates.size, dtype=torch.float64, device=updates.vectors[0].device)
