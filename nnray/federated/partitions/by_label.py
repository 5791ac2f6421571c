"""Partitions that differ in which labels a client has; ``labels`` are of the training examples, ``[N]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnray.errors import DataError
from nnray.federated.partitions.partition import (
    Index,
    Partition,
    by_owner,
    dealt,
    even_sizes,
    require_enough,
)
from nnray.fields import Positive, PositiveInt

_DRAWS = 1_000
_SAMPLES = 10_000_000
"""Bound, in draws and in numbers drawn, on drawing again until no client is too small: some seconds."""


def iid(labels: Index, num_clients: int, rng: np.random.Generator) -> Partition:
    """Clients alike: the shuffled examples in parts of equal size, up to one."""
    require_enough(labels, num_clients, least=1)
    sizes = even_sizes(len(labels), num_clients)
    return by_owner(dealt(rng.permutation(len(labels)), sizes), num_clients)


def dirichlet(
    labels: Index,
    num_clients: int,
    rng: np.random.Generator,
    *,
    alpha: Positive = 0.5,
    min_size: PositiveInt = 1,
) -> Partition:
    """Each class shared out among the clients in proportions drawn from a Dirichlet distribution.

    Args:
        alpha: Concentration: small ones give clients few classes, large ones make them alike.
        min_size: Fewest examples of a client; the split is drawn again until it holds.

    Source: Yurochkin et al., "Bayesian nonparametric federated learning of neural networks", 2019, section 4:
        proportions by class over clients. Hsu, Qi and Brown, 2019, draw them by client over classes instead.
        The rounding is by largest remainder, so that every example is somebody's.
    """
    require_enough(labels, num_clients, least=min_size)
    classes, counts = np.unique(labels, return_counts=True)
    draws = max(1, min(_DRAWS, _SAMPLES // (num_clients * len(classes))))
    for _ in range(draws):
        shares = np.stack([_shared(count, rng.dirichlet([alpha] * num_clients)) for count in counts])
        if shares.sum(axis=0).min() >= min_size:
            return by_owner(_dealt(labels, classes, shares, rng), num_clients)
    raise DataError(
        f"federated.partition: dirichlet with alpha {alpha:g} left some of {num_clients} clients with fewer "
        f"than {min_size} of {len(labels)} examples in each of {draws} draws: raise alpha, or lower "
        "min_size or federated.clients"
    )


def shards(
    labels: Index, num_clients: int, rng: np.random.Generator, *, per_client: PositiveInt = 2
) -> Partition:
    """Examples sorted by label, cut into shards of equal size, so many of them for each client.

    Args:
        per_client: Shards of a client.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
        2017, section 3.
    """
    require_enough(labels, num_clients, least=per_client)
    num_shards = num_clients * per_client
    order = rng.permutation(len(labels))
    shard = dealt(order[np.argsort(labels[order], kind="stable")], even_sizes(len(labels), num_shards))
    return by_owner((rng.permutation(num_shards) // per_client)[shard], num_clients)


def labels_per_client(
    labels: Index, num_clients: int, rng: np.random.Generator, *, labels_each: PositiveInt = 2
) -> Partition:
    """Clients with examples of so many classes each, every class shared equally by those that have it.

    Args:
        labels_each: Classes of a client.

    Source: Li et al., "Federated learning on non-IID data silos", 2022, section IV ("#C = k"); here classes
        are dealt like cards, a shuffled deck after the other, so that each is held by as many clients as any
        other, up to one.
    """
    classes, counts = np.unique(labels, return_counts=True)
    _check_classes(num_clients, len(classes), labels_each)
    holds = _holders(num_clients, len(classes), labels_each, rng)
    held = holds.sum(axis=0)
    if (counts < held).any():
        short = int(np.argmax(counts < held))
        raise DataError(
            f"federated.partition: class {classes[short]} has {counts[short]} examples for {held[short]} "
            "clients that should have it: lower federated.clients or labels_each"
        )
    shares = np.stack([_shared(count, own / own.sum()) for count, own in zip(counts, holds.T, strict=True)])
    return by_owner(_dealt(labels, classes, shares, rng), num_clients)


def _check_classes(num_clients: int, num_classes: int, each: int) -> None:
    if each > num_classes:
        raise DataError(
            f"federated.partition: labels_each is {each}, the training examples have {num_classes} classes; "
            f"allowed: 1 to {num_classes}"
        )
    if num_clients * each < num_classes:
        raise DataError(
            f"federated.partition: {num_clients} clients with {each} classes each leave some of the "
            f"{num_classes} classes with nobody: raise labels_each or federated.clients"
        )


def _shared(count: int, weights: NDArray[np.float64]) -> Index:
    """``count`` examples in proportion to weights, by largest remainder."""
    exact = weights / weights.sum() * count
    shares: Index = np.floor(exact).astype(np.int64)
    owed = np.argsort(shares - exact, kind="stable")[: count - int(shares.sum())]
    shares[owed] += 1
    return shares


def _dealt(labels: Index, classes: Index, shares: Index, rng: np.random.Generator) -> Index:
    """Owner of each example; ``shares`` is ``[classes, clients]``."""
    owner = np.empty(len(labels), dtype=np.int64)
    for label, own in zip(classes, shares, strict=True):
        members = rng.permutation(np.flatnonzero(labels == label))
        owner[members] = np.repeat(np.arange(len(own)), own)
    return owner


def _holders(num_clients: int, num_classes: int, each: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Who holds which class, ``[clients, classes]``: dealt from one shuffled deck after the other."""
    cards = np.empty(0, dtype=np.int64)
    decks = [cards]
    for dealt_cards in range(0, num_clients * each, num_classes):
        deck = rng.permutation(num_classes)
        begun = dealt_cards % each
        if begun:
            # A client that has begun its hand with the last deck must not get the same class again.
            had = np.isin(deck, decks[-1][-begun:])
            first = deck[~had][: each - begun]
            deck = np.concatenate([first, deck[~np.isin(deck, first)]])
        decks.append(deck)
    cards = np.concatenate(decks)[: num_clients * each]
    holds = np.zeros((num_clients, num_classes), dtype=bool)
    holds[np.repeat(np.arange(num_clients), each), cards] = True
    return holds[rng.permutation(num_clients)]
