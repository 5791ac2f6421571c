"""Attacks of clients that agree on what they send, knowing what the honest ones of the round sent."""

from __future__ import annotations

from functools import partial
from statistics import NormalDist

from torch import Tensor

from nnray.data.splits import DataInfo
from nnray.federated.aggregation.aggregator import Updates, total
from nnray.federated.attacks.attack import Attack
from nnray.fields import Positive


def alie(info: DataInfo, *, z: Positive | None = None) -> Attack:
    """A little is enough: the honest mean moved by as many standard deviations as go unnoticed.

    Args:
        z: Standard deviations; null: the most that, with the attackers, leaves a majority on their side of
            some honest clients.

    Source:
        Baruch et al. 2019, "A little is enough: circumventing defenses for distributed learning", algorithm
        3; mean and deviation are those of the honest clients of the round, not the attackers' guess of them.
    """
    return Attack(collude=partial(_alie, z=z))


def inner_product(info: DataInfo, *, epsilon: Positive = 0.5) -> Attack:
    """Inner product manipulation: a multiple of the honest mean, in the other direction.

    Args:
        epsilon: The multiple: a small one is hard to see, a large one turns the mean of all round.

    Source:
        Xie et al. 2019, "Fall of empires: breaking Byzantine-tolerant SGD by inner product manipulation",
        section 4.
    """
    return Attack(collude=partial(_inner_product, epsilon=epsilon))


def most_deviations(num_clients: int, num_attackers: int) -> float:
    """How far attackers can go and still have a majority with them: z_max of the paper; at least 0."""
    honest = num_clients - num_attackers
    supporters = max(1, num_clients // 2 + 1 - num_attackers)
    share = (honest - supporters) / honest
    return max(0.0, NormalDist().inv_cdf(share)) if share > 0 else 0.0


def _alie(honest: Updates, num_attackers: int, *, z: float | None) -> Tensor:
    far = most_deviations(len(honest) + num_attackers, num_attackers) if z is None else z

    def of_block(part: slice, block_NB: Tensor) -> Tensor:
        mean = total(block_NB).div_(len(honest))
        return mean - far * total((block_NB - mean).square_()).div_(len(honest)).sqrt_()

    return honest.reduce(of_block)


def _inner_product(honest: Updates, num_attackers: int, *, epsilon: float) -> Tensor:
    return honest.reduce(lambda part, block_NB: total(block_NB).mul_(-epsilon / len(honest)))
