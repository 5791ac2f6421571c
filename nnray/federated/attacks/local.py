"""Attacks through what a client sends, each attacker for itself."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nnray.data.splits import DataInfo
from nnray.federated.attacks.attack import Attack, altered
from nnray.federated.strategy import ClientUpdate, Message
from nnray.fields import Positive
from nnray.seeding import derive


def sign_flip(info: DataInfo, *, factor: Positive = 1.0) -> Attack:
    """Sign flipping: attackers send the opposite of what they learnt.

    Args:
        factor: By which it is scaled, too.

    Source:
        Li et al. 2019, "RSA: Byzantine-robust stochastic aggregation methods", section 5.
    """
    return Attack(lie=partial(scaled, factor=-factor))


def gaussian(info: DataInfo, *, seed: int, std: Positive = 1.0) -> Attack:
    """Gaussian noise in place of an update.

    Args:
        std: Standard deviation of each of its values.

    Source:
        Blanchard et al. 2017, "Machine learning with adversaries", section 5.
    """
    return Attack(lie=partial(_noise, std=std, seed=seed))


def scale(info: DataInfo, *, factor: Positive = 10.0) -> Attack:
    """Scaling: attackers send a multiple of what they learnt, as in model replacement.

    Args:
        factor: Clients of a round over attackers among them puts the attackers' model in the place of all.

    Source:
        Bagdasaryan et al. 2020, "How to backdoor federated learning", equation 3.
    """
    return Attack(lie=partial(scaled, factor=factor))


def scaled(message: Message, update: ClientUpdate, *, factor: float) -> Message:
    """A message all of whose vectors are multiplied."""
    return altered(message, lambda name, value: factor * value)


def _noise(message: Message, update: ClientUpdate, *, std: float, seed: int) -> Message:
    def drawn(name: str, value: Tensor) -> Tensor:
        key = derive(seed, "attack", "gaussian", update.round, update.client, name)
        rng = torch.Generator().manual_seed(key)
        return (std * torch.randn(value.shape, generator=rng)).to(value)

    return altered(message, drawn)
