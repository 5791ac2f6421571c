"""Fleets of devices that are drawn: how unequal clients are, and how.

What all of them take: ``dropout`` is the probability that a client which has begun comes to no end;
``available`` is the share of each ``period_s`` in which a client is there, from a moment of its own on. A
client that is no longer there before it has come to its end is lost to the round, too.
"""

from __future__ import annotations

import numpy as np

from nnray.errors import DataError
from nnray.federated.virtual.devices import Devices, Floats
from nnray.federated.virtual.windows import daily
from nnray.fields import Fraction, NonNegative, Positive, Probability


def uniform(
    num_clients: int,
    rng: np.random.Generator,
    *,
    step_s: Positive = 0.02,
    spread: Fraction = 0.0,
    down_bytes_s: Positive = 2.5e6,
    up_bytes_s: Positive = 1e6,
    dropout: Probability = 0.0,
    available: Fraction = 1.0,
    period_s: Positive = 86400.0,
) -> Devices:
    """Devices whose steps take a time drawn evenly about a mean; all the same without a spread.

    Args:
        step_s: Mean time of an optimizer step.
        spread: How far from the mean a device may be, as a share of it.
        down_bytes_s: Speed of every link from the server.
        up_bytes_s: Speed of every link to the server.
        dropout: Probability that a client which has begun comes to no end.
        available: Share of a period in which a client is there.
        period_s: After which clients come again.
    """
    steps = step_s * (1.0 + spread * rng.uniform(-1.0, 1.0, num_clients))
    return _made(rng, steps, down_bytes_s, up_bytes_s, dropout, available=available, period_s=period_s)


def lognormal(
    num_clients: int,
    rng: np.random.Generator,
    *,
    step_s: Positive = 0.02,
    sigma: NonNegative = 1.0,
    down_bytes_s: Positive = 2.5e6,
    up_bytes_s: Positive = 1e6,
    link_sigma: NonNegative = 0.5,
    dropout: Probability = 0.0,
    available: Fraction = 1.0,
    period_s: Positive = 86400.0,
) -> Devices:
    """Devices whose speeds are log-normal: most are alike, some many times slower.

    Args:
        step_s: Median time of an optimizer step.
        sigma: Standard deviation of the logarithm of that time.
        down_bytes_s: Median speed of a link from the server.
        up_bytes_s: Median speed of a link to the server.
        link_sigma: Standard deviation of the logarithm of a link's speed, in both directions.
        dropout: Probability that a client which has begun comes to no end.
        available: Share of a period in which a client is there.
        period_s: After which clients come again.
    """
    steps = step_s * np.exp(rng.normal(0.0, sigma, num_clients))
    link = np.exp(rng.normal(0.0, link_sigma, num_clients))
    return _made(
        rng, steps, down_bytes_s * link, up_bytes_s * link, dropout, available=available, period_s=period_s
    )


def pareto(
    num_clients: int,
    rng: np.random.Generator,
    *,
    step_s: Positive = 0.01,
    shape: Positive = 1.2,
    down_bytes_s: Positive = 2.5e6,
    up_bytes_s: Positive = 1e6,
    dropout: Probability = 0.0,
    available: Fraction = 1.0,
    period_s: Positive = 86400.0,
) -> Devices:
    """Devices with a heavy tail: the slowest of a cohort holds it up many times as long as its median.

    Args:
        step_s: Shortest time of an optimizer step.
        shape: Of the Pareto distribution of that time: the smaller, the heavier the tail; up to 1 there is
            no mean.
        down_bytes_s: Speed of every link from the server.
        up_bytes_s: Speed of every link to the server.
        dropout: Probability that a client which has begun comes to no end.
        available: Share of a period in which a client is there.
        period_s: After which clients come again.
    """
    steps = step_s * (1.0 + rng.pareto(shape, num_clients))
    return _made(rng, steps, down_bytes_s, up_bytes_s, dropout, available=available, period_s=period_s)


def classes(
    num_clients: int,
    rng: np.random.Generator,
    *,
    shares: tuple[Positive, ...] = (0.2, 0.5, 0.3),
    step_s: tuple[Positive, ...] = (0.01, 0.03, 0.1),
    down_bytes_s: tuple[Positive, ...] = (1e7, 2.5e6, 5e5),
    up_bytes_s: tuple[Positive, ...] = (5e6, 1e6, 1e5),
    dropout: tuple[Probability, ...] = (0.0, 0.0, 0.0),
    available: Fraction = 1.0,
    period_s: Positive = 86400.0,
) -> Devices:
    """Classes of devices, such as dear, usual and cheap phones; each client is of one, by chance.

    Args:
        shares: Of the clients that are of each class, in proportion.
        step_s: Time of an optimizer step, by class.
        down_bytes_s: Speed of a link from the server, by class.
        up_bytes_s: Speed of a link to the server, by class.
        dropout: Probability that a client which has begun comes to no end, by class.
        available: Share of a period in which a client is there.
        period_s: After which clients come again.
    """
    given = {"step_s": step_s, "down_bytes_s": down_bytes_s, "up_bytes_s": up_bytes_s, "dropout": dropout}
    for name, values in given.items():
        if len(values) != len(shares):
            raise DataError(
                f"federated.devices: {name} has {len(values)} values for {len(shares)} shares: "
                "give one for each class"
            )
    weights = np.array(shares) / sum(shares)
    of = rng.choice(len(shares), size=num_clients, p=weights)
    steps, down, up, drop = (np.array(values, dtype=np.float64)[of] for values in given.values())
    return _made(rng, steps, down, up, drop, available=available, period_s=period_s)


def _made(
    rng: np.random.Generator,
    steps: Floats,
    down: Floats | float,
    up: Floats | float,
    dropout: Floats | float,
    *,
    available: float,
    period_s: float,
) -> Devices:
    if not available:
        raise DataError(
            "federated.devices: available is 0, so that nobody ever comes; allowed: above 0, to 1"
        )
    down, up, dropout = (np.broadcast_to(np.float64(part), steps.shape) for part in (down, up, dropout))
    there = daily(len(steps), rng, share=available, period_s=period_s)
    return Devices(step_s=steps, down=down, up=up, dropout=dropout, windows=there)
